# expect 2: invalid-dag
# expect 3: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
with DAG("no_start_date", schedule=None):
    EmptyOperator(task_id="a")
