# expect: duplicate-task-id
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
with DAG("duplicate_task", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="a")
    EmptyOperator(task_id="a")
