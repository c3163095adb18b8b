# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import os
os.environ['AIRFLOW_VAR_REGION'] = 'north'
from portable import Variable
assert Variable.get('region') == 'north'
with DAG("variable_environment", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
