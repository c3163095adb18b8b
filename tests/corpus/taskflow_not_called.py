# expect: no-dag-found
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
@dag(start_date=datetime(2024, 1, 1), schedule=None)
def taskflow_not_called():
    EmptyOperator(task_id="a")
