# expect: missing-module
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
from package.reports import x
with DAG("import_submodule_typo", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
