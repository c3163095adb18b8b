# expect: missing-package
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import surely_not_installed
with DAG("import_missing_package", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
