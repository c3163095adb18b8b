# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
from package.report import x
with DAG("import_package", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
