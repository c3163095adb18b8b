# expect: parse-error
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
1 / 0
with DAG("zero_division", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
