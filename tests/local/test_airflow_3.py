"""The main job on Airflow 3.3.2: its api-server and dag-processor, its REST API, its simple auth manager."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devenv.events import VerdictReached
from devenv.logs.task import TaskLogQuery, task_logs

from .conftest import HELLO, World, eventually, is_healthy, scheduler_speaks_for_itself, watching, world

pytestmark = [pytest.mark.local, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def airflow_3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("local"), "3.3.2") as made:
        made.write("hello.py", HELLO.replace("airflow.decorators", "airflow.sdk"))
        made.up()
        with watching(made):
            yield made


def test_save_verdict_run_and_log(airflow_3: World) -> None:
    client = airflow_3.backend().airflow()
    eventually(lambda: "hello" in {dag.dag_id for dag in client.dags()})
    client.unpause("hello")
    run_id = client.trigger("hello")
    assert client.wait_run("hello", run_id, seconds=90).state == "success"
    log = [line.text for line in task_logs(airflow_3.backend(), TaskLogQuery("hello", "greet"))]
    assert any("hello from the task" in line for line in log)
    cleared = client.clear("hello", run_id, ["greet"], upstream=False, downstream=True, rehearse=False)
    assert cleared == ("greet",)
    assert client.wait_run("hello", run_id, seconds=90).state == "success"
    assert client.task_instances("hello", run_id)[0].try_number == 2

    airflow_3.write("hello.py", HELLO + "\nsum(['no', 'numbers'])\n")
    verdicts = eventually(
        lambda: [event.verdict for event in airflow_3.of(VerdictReached) if not event.verdict.ok],
    )
    assert verdicts[0].problems[0].type == "TypeError"
    eventually(client.import_errors)


def test_the_schedulers_own_import_errors_are_told(airflow_3: World) -> None:
    scheduler_speaks_for_itself(airflow_3)


def test_all_components_are_well(airflow_3: World) -> None:
    eventually(lambda: is_healthy(airflow_3))
    names = {part.name for part in airflow_3.backend().status().components}
    assert {"api-server", "scheduler", "dag-processor", "triggerer", "postgres", "vault"} <= names
