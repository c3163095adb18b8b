# expect: syntax-error
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
if True:
        x = 1
	y = 2
with DAG("syntax_tabs", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
