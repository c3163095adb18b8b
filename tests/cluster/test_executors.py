"""Executors on a real cluster: CeleryExecutor runs tasks in its worker, and switching keeps the metadata database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devenv.settings.schema import AirflowSettings
from devenv.vault import seeds
from tests.support.parts import Parts, parts_in, settings_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

NAMESPACE = "executors-test"
CELERY = settings_for(NAMESPACE, AirflowSettings(executor="CeleryExecutor"))
LOCAL = settings_for(NAMESPACE, AirflowSettings(executor="LocalExecutor"))
HOSTS = """\
from datetime import datetime
from airflow.decorators import dag, task

@dag(start_date=datetime(2024, 1, 1), schedule=None, catchup=False, is_paused_upon_creation=False)
def hosts():
    @task
    def say():
        print("hello")
    say()

hosts()
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with parts_in(tmp_path_factory.mktemp("executors"), CELERY) as parts:
        parts.wait(*(f"deploy/{name}" for name in ("agent", "scheduler", "redis", "worker", "flower")))
        yield parts


def run_of(parts: Parts, run_id: str) -> str:
    """Runs the DAG to success; gives back the host of its task."""
    parts.run("airflow", "dags", "trigger", "hosts", "--run-id", run_id)
    row = f"SELECT state, hostname FROM task_instance WHERE run_id = '{run_id}'"
    parts.until(lambda: [state for state, _ in parts.sql(row)] == ["success"], f"{run_id} succeeds")
    return parts.sql(row)[0][1]


def test_celery_then_local(parts: Parts) -> None:
    parts.put_dag("hosts", HOSTS)
    assert run_of(parts, "by-celery").startswith("worker-")

    fetch = (
        "import sys, urllib.request, urllib.error, base64\n"
        "request = urllib.request.Request('http://127.0.0.1:5555/workers?json=1')\n"
        "login = base64.b64encode(sys.argv[1].encode()).decode()\n"
        "if login: request.add_header('Authorization', 'Basic ' + login)\n"
        "try: print(urllib.request.urlopen(request).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )
    login = seeds.all_secrets(parts.project, seeds.load_or_create(parts.project))["flower/login"]
    right = f"{login['FLOWER_USER']}:{login['FLOWER_PASSWORD']}"
    assert parts.run("python", "-c", fetch, "", component="flower").strip() == "401"
    assert parts.run("python", "-c", fetch, right, component="flower").strip() == "200"
    for component in ("flower", "redis", "worker"):
        read = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
        seen = parts.run("sh", "-c", read, component=component)
        known = seeds.load_or_create(parts.project).generated
        assert not [name for name, value in known.items() if value in seen]
    refused = parts.run("redis-cli", "ping", component="redis")
    assert "NOAUTH" in refused

    parts.apply(LOCAL)
    parts.wait("deploy/scheduler")
    assert run_of(parts, "by-local").startswith("scheduler-")
    runs = {run_id for (run_id,) in parts.sql("SELECT run_id FROM dag_run WHERE state = 'success'")}
    assert runs == {"by-celery", "by-local"}
