# expect: crash
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
with DAG("killed", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
