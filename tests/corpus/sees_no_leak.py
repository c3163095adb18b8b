# expect: nothing
# airflow dag
from datetime import datetime, timedelta
from portable import DAG, EmptyOperator, BashOperator, PythonOperator, dag, task
import builtins, os, signal, sys
assert 'LEAKED' not in os.environ
assert '/leaked' not in sys.path
assert not hasattr(builtins, 'LEAKED')
assert signal.getsignal(signal.SIGTERM) != signal.SIG_IGN
with DAG("sees_no_leak", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
