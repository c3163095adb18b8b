# expect: nothing
# airflow dag
from datetime import datetime

from portable import DAG

DAG("ignored_one", start_date=datetime(2024, 1, 1), schedule=None)
