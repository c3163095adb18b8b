# expect: slow-top-level
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import time
def load():
    time.sleep(1.3)
load()
with DAG("slow_helper", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
