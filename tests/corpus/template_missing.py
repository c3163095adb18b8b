# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
with DAG("template_missing", start_date=datetime(2024, 1, 1), schedule=None):
    BashOperator(task_id="a", bash_command="not_there.sh")
