# expect: invalid-arguments
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
with DAG("missing_argument", start_date=datetime(2024, 1, 1), schedule=None):
    BashOperator(task_id="a")
