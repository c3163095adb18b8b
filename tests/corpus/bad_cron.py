# expect: invalid-schedule
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
with DAG("bad_cron", start_date=datetime(2024, 1, 1), schedule="every tuesday"):
    EmptyOperator(task_id="a")
