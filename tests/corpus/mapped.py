# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
@dag(start_date=datetime(2024, 1, 1), schedule=None)
def mapped():
    @task
    def add(x):
        return x + 1
    add.expand(x=[1, 2, 3])
mapped()
