# expect: recursion
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
def f():
    return f()
f()
with DAG("recursion", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
