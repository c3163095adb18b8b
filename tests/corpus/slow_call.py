# expect: slow-top-level
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import subprocess, sys
subprocess.run([sys.executable, '-c', 'import time; time.sleep(1.3)'], check=True)
with DAG("slow_call", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
