# expect: parse-memory
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
x = bytearray(8_000_000_000)
with DAG("memory", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
