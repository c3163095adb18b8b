"""A deferrable operator: while it waits it has no worker; the triggerer waits for many at once."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow import DAG
from airflow.decorators import task
from airflow.sensors.time_delta import TimeDeltaSensorAsync


@task
def done() -> None:
    print("waited")


with DAG(
    "deferrable_example",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"owner": "data", "retries": 1, "retry_delay": timedelta(seconds=10), "email_on_failure": False},
    tags=["example"],
):
    # Counted from the end of the run's data interval, which for a run that was asked for is its start.
    TimeDeltaSensorAsync(task_id="wait", delta=timedelta(seconds=15)) >> done()
