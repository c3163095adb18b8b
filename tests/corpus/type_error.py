# expect: parse-error
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
len(5)
with DAG("type_error", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
