# expect: invalid-id
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
with DAG("bad_task_id", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="with spaces!")
