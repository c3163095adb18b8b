"""Two schedulers on a real cluster: one is killed under a running backfill, and no task is lost or run twice."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from devenv.settings.schema import AirflowSettings
from tests.support.parts import Parts, parts_in, settings_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

NAMESPACE = "ha-test"
FIRST = settings_for(NAMESPACE, AirflowSettings(schedulers=2))
DAYS = 6
BACKFILL = f"""\
import time
from datetime import datetime
from pathlib import Path
from airflow.decorators import dag, task
from kubernetes.client import models

SMALL = models.V1Container(name="base", resources=models.V1ResourceRequirements(requests={{"cpu": "50m"}}))
POD = models.V1Pod(spec=models.V1PodSpec(containers=[SMALL]))

@dag(start_date=datetime(2024, 1, 1), end_date=datetime(2024, 1, {DAYS}), schedule="@daily", catchup=True,
     is_paused_upon_creation=False, max_active_runs={DAYS}, default_args={{"retries": 0}})
def days():
    @task(executor_config={{"pod_override": POD}})
    def work(ds=None):
        with Path("/opt/airflow/logs/days.txt").open("a") as file:
            file.write(ds + "\\n")
        time.sleep(15)
    work()

days()
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with parts_in(tmp_path_factory.mktemp("ha"), FIRST) as parts:
        parts.wait("deploy/agent", "deploy/scheduler")
        yield parts


def schedulers(parts: Parts) -> list[dict[str, object]]:
    """Name, restarts and readiness of each scheduler's pod."""
    listed = parts.kubectl("get", "pod", "-l", "app.kubernetes.io/component=scheduler", "-o", "json")
    found = []
    for item in json.loads(listed)["items"]:
        statuses = item["status"].get("containerStatuses") or [{}]
        ready = all(status.get("ready") for status in statuses)
        found.append({"name": item["metadata"]["name"], "ready": ready})
    return found


def test_a_killed_scheduler_under_a_backfill(parts: Parts) -> None:
    parts.put_dag("days", BACKFILL)
    states = "SELECT state, count(*) FROM task_instance WHERE dag_id = 'days' GROUP BY state"
    parts.until(lambda: "running" in dict(parts.sql(states)), "a task runs")
    victim, _ = schedulers(parts)
    parts.kubectl("delete", "pod", str(victim["name"]), "--grace-period=0", "--force")
    parts.until(lambda: dict(parts.sql(states)) == {"success": str(DAYS)}, "all tasks succeed", seconds=600)
    lines = parts.run("cat", "/opt/airflow/logs/days.txt", component="agent").split()
    assert sorted(lines) == [f"2024-01-{day:02}" for day in range(1, DAYS + 1)]
    assert parts.sql("SELECT DISTINCT try_number FROM task_instance WHERE dag_id = 'days'") == [["1"]]
    assert [pod["ready"] for pod in schedulers(parts)] == [True, True]
    beating = (
        "SELECT count(DISTINCT hostname) FROM job WHERE job_type = 'SchedulerJob' AND state = 'running' "
        "AND latest_heartbeat > now() - interval '30 seconds'"
    )
    assert parts.sql(beating) == [["2"]]
