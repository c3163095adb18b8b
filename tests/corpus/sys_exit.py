# expect: exit-while-parsing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import sys
sys.exit(3)
with DAG("sys_exit", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
