# expect: no-dag-found
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
def make():
    return DAG("in_function", start_date=datetime(2024, 1, 1), schedule=None)
