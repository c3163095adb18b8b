# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import os
os.close(1)
os.close(2)
with DAG("closes_output", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
