# expect 2: nothing
# expect 3: invalid-params
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
with DAG("unserializable", start_date=datetime(2024, 1, 1), schedule=None, params={"x": object()}):
    EmptyOperator(task_id="a")
