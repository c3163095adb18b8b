# expect: import-error
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import circle_a
with DAG("import_circular", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
