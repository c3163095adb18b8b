"""Executors on a real cluster: each runs a task, Celery's parts keep their secrets, and switching keeps the runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from devenv.vault import seeds
from tests.support.deployed import Deployed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

OF_CELERY = ("redis", "worker", "flower")
HOSTS = """\
from datetime import datetime
from airflow.decorators import dag, task

@dag(start_date=datetime(2024, 1, 1), schedule=None, catchup=False)
def hosts():
    @task
    def say():
        print("hello")
    say()

hosts()
"""
ASK_FLOWER = """\
import base64, sys, urllib.error, urllib.request
request = urllib.request.Request("http://127.0.0.1:5555/workers?json=1")
if login := sys.stdin.read():
    request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
try:
    print(urllib.request.urlopen(request).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture(scope="module")
def celery(deployed: Deployed) -> Iterator[Deployed]:
    """The environment with the CeleryExecutor; with the default again at the end."""
    deployed.up("--with", "celery")
    deployed.put_dag("hosts", HOSTS)
    yield deployed
    deployed.up("--executor", "KubernetesExecutor")
    (deployed.program.folder / "dags" / "hosts.py").unlink()
    deployed.program.run("sync", "--yes")


def run_hosts(deployed: Deployed) -> tuple[str, str]:
    """Runs the DAG to success: the executor that the scheduler says it has, and the host where the task ran."""
    deployed.program.run("run", "hosts", "--wait")
    said = deployed.kubectl("logs", "deploy/scheduler", "-c", "scheduler")
    (host,) = deployed.sql("SELECT hostname FROM task_instance WHERE dag_id = 'hosts' ORDER BY start_date DESC LIMIT 1")
    return re.findall(r"Loaded executor: (\w+)", said)[-1], host[0]


def test_celery_runs_a_task_in_its_worker(celery: Deployed) -> None:
    executor, host = run_hosts(celery)
    assert executor == "CeleryExecutor"
    assert host.startswith("worker-")


def test_flower_and_redis_refuse_who_does_not_log_in(celery: Deployed) -> None:
    login = celery.program.json("secrets", "get", "flower/login", "--reveal")[-1].data["values"]
    right = f"{login['FLOWER_USER']}:{login['FLOWER_PASSWORD']}"

    def asked_as(login: str) -> str:
        ask = ("exec", "-i", "deploy/flower", "-c", "flower", "--", "python", "-c", ASK_FLOWER)
        return celery.kubectl(*ask, stdin=login).strip()

    assert [asked_as(""), asked_as(right + "x"), asked_as(right)] == ["401", "401", "200"]
    assert "NOAUTH" in celery.run("redis-cli", "ping", component="redis")


def test_no_argument_and_no_environment_variable_has_a_secret(celery: Deployed) -> None:
    known = seeds.decode_secret(json.loads(celery.kubectl("get", "secret", "vault-seed", "-o", "json")))["generated"]
    assert {"broker_password", "flower_password", "postgres_password"} <= known.keys()
    read = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    for component, program in zip(OF_CELERY, ("redis-server", "celery", "broker.py"), strict=True):
        seen = celery.run("sh", "-c", read, component=component)
        assert program in seen
        assert not [name for name, value in known.items() if value in seen]


def test_the_worker_goes_on_after_redis_was_killed(celery: Deployed) -> None:
    celery.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=redis", "--grace-period=0", "--force")
    celery.kubectl("rollout", "status", "deploy/redis", "--timeout=600s")
    executor, host = run_hosts(celery)
    assert executor == "CeleryExecutor"
    assert host.startswith("worker-")


def test_switching_keeps_the_runs_and_removes_what_celery_needed(celery: Deployed) -> None:
    run_ids = "SELECT run_id FROM dag_run WHERE dag_id = 'hosts' AND state = 'success'"
    before = celery.sql(run_ids)
    for executor, place in (
        ("LocalExecutor", "scheduler-"),
        ("SequentialExecutor", "scheduler-"),
        ("KubernetesExecutor", "hosts-say-"),
    ):
        celery.up("--executor", executor)
        found, host = run_hosts(celery)
        assert found == executor
        assert host.startswith(place)
    after = celery.sql(run_ids)
    assert [run_id for run_id in before if run_id in after] == before
    assert len(after) == len(before) + 3

    def left() -> list[str]:
        kinds = "deployments,replicasets,pods,services,serviceaccounts,configmaps"
        parts = celery.kubectl("get", kinds, "-o", "name")
        return [line for line in parts.splitlines() if any(name in line for name in (*OF_CELERY, "celery"))]

    celery.until(lambda: not left(), "nothing of Celery is left, its last pods included")
