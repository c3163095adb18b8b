"""The local backend: no cluster, real Airflow, Postgres and Vault as supervised processes."""
