# expect: import-error
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
from . import helper
with DAG("import_relative_at_top", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
