# expect: parse-error
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
open('/surely/not/there')
with DAG("file_not_found", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
