"""Secrets: a connection, a variable, an env file and a Slack webhook, all from Vault.

    devenv secrets set connection warehouse      asks for postgresql://reader:…@db.example.com/shop
    devenv secrets set variable region
    devenv secrets set slack/webhook SLACK_WEBHOOK_URL

Connections and variables are read when a task runs, never while the file is parsed. The task that queries Spark
reads `kyuubi.env`, from Vault's `kyuubi/database`; how it ended is told to Slack (see alerts.py). No value is printed.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import alerts
from airflow.decorators import dag, task
from env_files import read_env


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={
        "owner": "data",
        "retries": 1,
        "retry_delay": timedelta(seconds=10),
        "email_on_failure": False,
        "on_failure_callback": alerts.failed,
    },
    tags=["example", "secrets"],
)
def secrets_example():
    @task
    def use_connection() -> None:
        from airflow.hooks.base import BaseHook

        connection = BaseHook.get_connection("warehouse")
        password = connection.password or ""
        print(f"{connection.conn_type} at {connection.host}, a password of {len(password)} characters")

    @task
    def use_variable() -> str:
        from airflow.models import Variable

        return Variable.get("region")

    @task(on_success_callback=alerts.succeeded)
    def query_spark(region: str) -> str:
        """What a JDBC client is given; a dbt task has the same from the environment, see docs/how-to/secrets.md."""
        settings = read_env("kyuubi.env")
        if not settings:
            raise RuntimeError("kyuubi.env is missing: devenv secrets seed")
        password = settings["KYUUBI_PASSWORD"]
        print(f"{settings['KYUUBI_JDBC_URL']} as {settings['KYUUBI_USER']}, a password of {len(password)} characters")
        print(f"the sales of {region}")
        return settings["KYUUBI_JDBC_URL"]

    use_connection() >> query_spark(use_variable())


secrets_example()
