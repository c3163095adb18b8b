# expect: invalid-arguments
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
with DAG("unknown_dag_argument", start_date=datetime(2024, 1, 1), schedule=None, surprise=1):
    EmptyOperator(task_id="a")
