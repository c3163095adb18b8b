# expect: missing-module
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import hlper
with DAG("import_typo_helper", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
