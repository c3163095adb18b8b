"""Keeps local processes running, with restarts and logs, and ends with the process that holds it. Knows no Airflow."""
