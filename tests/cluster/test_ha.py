"""Two schedulers on a real cluster: one is killed while a DAG catches up, and no task is lost or run twice."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.deployed import Deployed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

DAYS = 6
WORKED = "/opt/airflow/logs/days.txt"
CATCHES_UP = f"""\
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
        with Path("{WORKED}").open("a") as file:
            file.write(ds + "\\n")
        time.sleep(15)
    work()

days()
"""


@pytest.fixture(scope="module")
def several(deployed: Deployed) -> Iterator[Deployed]:
    """The environment with two schedulers; with one again at the end."""
    deployed.up("--with", "ha")
    yield deployed
    deployed.up("--executor", "KubernetesExecutor")
    (deployed.program.folder / "dags" / "days.py").unlink()
    deployed.program.run("sync", "--yes")


BEATING = (
    "SELECT hostname FROM job WHERE job_type = 'SchedulerJob' AND state = 'running' "
    "AND latest_heartbeat > now() - interval '30 seconds'"
)


def schedulers(deployed: Deployed) -> dict[str, tuple[bool, int]]:
    """Pod → whether it is ready, and how often its container was restarted."""
    listed = deployed.kubectl("get", "pod", "-l", "app.kubernetes.io/component=scheduler", "-o", "json")
    found = {}
    for pod in json.loads(listed)["items"]:
        (status,) = pod["status"].get("containerStatuses") or [{"ready": False, "restartCount": 0}]
        found[pod["metadata"]["name"]] = (status["ready"], status["restartCount"])
    return found


def test_a_scheduler_is_killed_while_a_dag_catches_up(several: Deployed) -> None:
    several.put_dag("days", CATCHES_UP)
    states = "SELECT state, count(*) FROM task_instance WHERE dag_id = 'days' GROUP BY state"
    several.until(lambda: "running" in dict(several.sql(states)), "a task runs")
    victim, other = schedulers(several)
    several.kubectl("delete", "pod", victim, "--grace-period=0", "--force")
    several.until(lambda: dict(several.sql(states)) == {"success": str(DAYS)}, "all tasks succeed")
    worked = several.run("cat", WORKED, component="agent").split()
    assert sorted(worked) == [f"2024-01-{day:02}" for day in range(1, DAYS + 1)]
    assert several.sql("SELECT DISTINCT try_number FROM task_instance WHERE dag_id = 'days'") == [["1"]]

    def both() -> bool:
        ready = {name for name, (is_ready, _) in schedulers(several).items() if is_ready}
        return len(ready) == 2 and {host for (host,) in several.sql(BEATING)} == ready

    several.until(both, "two schedulers are ready and beat")
    assert victim not in schedulers(several)
    assert schedulers(several)[other] == (True, 0)


def test_a_scheduler_that_was_started_again_is_ready_when_it_schedules(several: Deployed) -> None:
    victim = next(name for name, (is_ready, restarts) in schedulers(several).items() if is_ready and not restarts)
    several.kubectl("exec", victim, "-c", "scheduler", "--", "sh", "-c", "kill -KILL -1", check=False)
    several.until(lambda: schedulers(several)[victim] == (True, 1), "the scheduler is ready again")
    # The job of the process that was killed is still said to run; the probe does not take it for this one's.
    started = several.kubectl(
        "get", "pod", victim, "-o", "jsonpath={.status.containerStatuses[0].state.running.startedAt}"
    )
    jobs = f"SELECT 1 FROM job WHERE job_type = 'SchedulerJob' AND hostname = '{victim}' AND start_date > '{started}'"
    assert several.sql(jobs) == [["1"]]
