# expect: name-error
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
start = datetime(2024, 1, 1)
print(strat)
with DAG("name_typo", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
