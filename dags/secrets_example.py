"""Secrets: a connection, a variable, and an env file, all from Vault.

    devenv secrets set connection warehouse      asks for postgresql://reader:…@db.example.com/shop
    devenv secrets set variable region

Connections and variables are read when a task runs, never while the file is parsed. The task that needs the Spark
database's address reads `kyuubi.env`, from Vault's `kyuubi/database`. No value is printed.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.decorators import dag, task
from env_files import read_env


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"owner": "data", "retries": 1, "retry_delay": timedelta(seconds=10), "email_on_failure": False},
    tags=["example", "secrets"],
)
def secrets_example():
    @task
    def use_connection() -> str:
        from airflow.hooks.base import BaseHook

        connection = BaseHook.get_connection("warehouse")
        return f"{connection.conn_type} at {connection.host}, a password of {len(connection.password or '')} characters"

    @task
    def use_variable() -> str:
        from airflow.models import Variable

        return f"region {Variable.get('region')}"

    @task
    def use_env_file() -> list[str]:
        """As a dbt task on Spark would: the keys are there, and are handed on by the environment."""
        settings = read_env("kyuubi.env")
        if not settings:
            raise RuntimeError("kyuubi.env is missing: devenv secrets seed")
        return sorted(settings)

    [use_connection(), use_variable()] >> use_env_file()


secrets_example()
