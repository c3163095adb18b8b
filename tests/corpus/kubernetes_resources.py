# expect: ignored-resources
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
@dag(start_date=datetime(2024, 1, 1), schedule=None)
def kubernetes_resources():
    @task(kubernetes_resources={"request_cpu": "1"})
    def work():
        pass
    work()
kubernetes_resources()
