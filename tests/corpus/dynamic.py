# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import pathlib
for path in sorted(pathlib.Path(__file__).parent.glob("config/*.txt")):
    with DAG(f"dynamic_{path.stem}", start_date=datetime(2024, 1, 1), schedule=None) as made:
        EmptyOperator(task_id=path.read_text().strip())
    globals()[made.dag_id] = made
