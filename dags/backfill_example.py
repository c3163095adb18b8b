"""A daily DAG to backfill: `devenv backfill backfill_example --from 2026-01-01 --to 2026-01-07`.

Each day is a run of its own, several at once; with KubernetesExecutor each task is a pod.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.decorators import dag, task


@dag(
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=4,
    default_args={"owner": "data", "retries": 1, "retry_delay": timedelta(seconds=10), "email_on_failure": False},
    tags=["example"],
)
def backfill_example():
    @task
    def load_day(ds: str | None = None) -> str:
        """Loads one day; the same day again gives the same result, which is what a backfill needs."""
        print(f"loading {ds}")
        return f"{ds} loaded"

    load_day()


backfill_example()
