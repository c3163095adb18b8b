# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
for i in range(20):
    with DAG(f"many_{i}", start_date=datetime(2024, 1, 1), schedule=None) as made:
        EmptyOperator(task_id="a")
    globals()[f"made_{i}"] = made
