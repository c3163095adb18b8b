"""Retries, and an alert to Slack when a task has failed for good (see alerts.py)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import alerts
from airflow.decorators import dag, task


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={
        "owner": "data",
        "retries": 2,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": False,
        "email_on_failure": False,
        "on_failure_callback": alerts.failed,
    },
    params={"fail": False},
    tags=["example"],
)
def retries_and_alerts():
    @task
    def flaky(**context: Any) -> str:
        """Fails at its first try; succeeds at the second unless the run was asked to fail."""
        if context["params"]["fail"]:
            raise RuntimeError("asked to fail: devenv run retries_and_alerts --conf '{\"fail\": true}'")
        if context["ti"].try_number == 1:
            raise RuntimeError("the first try always fails")
        return "fine"

    flaky()


retries_and_alerts()
