# expect: missing-package
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
from airflow.providers.apache.kylin.hooks.kylin import KylinHook
with DAG("import_missing_provider", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
