# expect: cycle
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
with DAG("cycle_self", start_date=datetime(2024, 1, 1), schedule=None):
    a = EmptyOperator(task_id="a")
    a.set_downstream(a)
