# expect: output-flood
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
for _ in range(3000):
    print('x' * 1000)
with DAG("output_flood", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
