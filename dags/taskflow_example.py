"""TaskFlow: plain functions become tasks, their results travel by XCom."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.decorators import dag, task


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"owner": "data", "retries": 1, "retry_delay": timedelta(seconds=10), "email_on_failure": False},
    tags=["example"],
)
def taskflow_example():
    @task
    def extract() -> dict[str, float]:
        return {"apples": 3.2, "pears": 1.7, "plums": 0.4}

    @task(multiple_outputs=True)
    def transform(sales: dict[str, float]) -> dict[str, float]:
        return {"total": sum(sales.values()), "best": max(sales.values())}

    @task
    def load(total: float, best: float) -> None:
        print(f"total {total:.2f}, best {best:.2f}")

    summary = transform(extract())
    load(summary["total"], summary["best"])


taskflow_example()
