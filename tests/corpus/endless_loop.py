# expect: parse-timeout
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
while True:
    pass
with DAG("endless_loop", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
