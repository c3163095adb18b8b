# expect: nothing
# airflow dag
