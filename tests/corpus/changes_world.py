# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import os, sys, signal
os.environ['LEAKED'] = '1'
sys.path.insert(0, '/leaked')
signal.signal(signal.SIGTERM, signal.SIG_IGN)
import builtins
builtins.LEAKED = 1
with DAG("changes_world", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
