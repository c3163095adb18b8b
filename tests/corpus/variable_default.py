# expect: top-level-io
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
from portable import Variable
region = Variable.get('region', None)
with DAG("variable_default", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
