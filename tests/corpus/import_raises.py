# expect: parse-error
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import raising
with DAG("import_raises", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
