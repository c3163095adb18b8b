# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import os, time
if os.fork() == 0:
    os.setsid()
    time.sleep(600)
    os._exit(0)
with DAG("leaves_processes", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
