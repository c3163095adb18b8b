from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task


def make(name):
    with DAG(f'made_{name}', start_date=datetime(2024, 1, 1), schedule=None):
        EmptyOperator(task_id='a')
