"""Facts per Airflow release, the configuration made from them, and the REST client."""
