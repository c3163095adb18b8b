# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import importlib
helper = importlib.import_module('helper')
assert helper.VALUE == 1
with DAG("import_dynamic", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
