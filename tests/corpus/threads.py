# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import threading, time
threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
with DAG("threads", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
