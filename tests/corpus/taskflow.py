# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
@dag(start_date=datetime(2024, 1, 1), schedule=None)
def taskflow():
    @task
    def one():
        return 1
    @task
    def two(x):
        print(x)
    two(one())
taskflow()
