# expect: syntax-error
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
<<<<<<< HEAD
x = 1
=======
x = 2
>>>>>>> other
with DAG("syntax_merge_conflict", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
