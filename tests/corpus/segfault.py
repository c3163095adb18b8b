# expect: crash
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import ctypes
ctypes.string_at(0)
with DAG("segfault", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
