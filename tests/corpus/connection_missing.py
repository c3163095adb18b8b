# expect: missing-connection
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
from portable import BaseHook
BaseHook.get_connection('warehouse')
with DAG("connection_missing", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
