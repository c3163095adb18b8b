# expect: top-level-io
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import sqlite3
sqlite3.connect(':memory:').close()
with DAG("database", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
