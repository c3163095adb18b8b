# expect: attribute-error
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import os
os.path.jion('a', 'b')
with DAG("attribute_typo", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
