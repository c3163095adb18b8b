# expect: top-level-io
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import socket
try:
    socket.create_connection(('127.0.0.1', 9), 0.2)
except OSError:
    pass
with DAG("network", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
