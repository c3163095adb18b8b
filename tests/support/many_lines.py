"""A task that writes ten thousand lines and fails, for whatever follows its log."""

from __future__ import annotations

import re

DAG_ID = "writes"
DAG = """
from datetime import datetime
try:
    from airflow.sdk import dag, task
except ImportError:
    from airflow.decorators import dag, task


@dag(schedule=None, start_date=datetime(2024, 1, 1), catchup=False)
def writes():
    @task
    def load():
        for number in range(10_000):
            print("line", number)
        raise ValueError("row 10000 has no key")

    load()


writes()
"""


def assert_whole(log: str) -> None:
    """Every line is there once and in order, and so is the error."""
    numbers = [int(number) for number in re.findall(r"line (\d+)$", log, re.MULTILINE)]
    assert numbers == list(range(10_000)), f"{len(numbers)} lines"
    assert "ValueError: row 10000 has no key" in log
