# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
größe = 1
with DAG("unicode_names", start_date=datetime(2024, 1, 1), schedule=None, description="Größe – 尺寸"):
    EmptyOperator(task_id="a")
