# expect: ignored-resources
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
with DAG("legacy_executor_config", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="a", executor_config={"request_memory": "1Gi"})
