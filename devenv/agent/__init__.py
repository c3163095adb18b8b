"""The program that runs beside the DAG volume: standard library and Airflow only, Python 3.8 and later."""
