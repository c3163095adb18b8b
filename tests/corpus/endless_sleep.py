# expect: parse-timeout
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import time
time.sleep(3600)
with DAG("endless_sleep", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
