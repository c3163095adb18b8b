"""From Airflow 2.7.2 to 3.3.2 and not back, in one minikube: the database goes along, a DAG runs, verdicts arrive.

The tests build on each other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import HELLO, MakeProject, delete_profile
from tests.support.deployed import Deployed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

PROFILE = os.environ.get("DEVENV_TEST_PROFILE", "devenv") + "-3"
RUNS = "SELECT run_id, state FROM dag_run ORDER BY id"


@pytest.fixture(scope="module")
def moved(make_project: MakeProject) -> Iterator[Deployed]:
    """An environment of 2.7.2 in which a DAG has run."""
    delete_profile(PROFILE)
    program = make_project("shop", PROFILE)
    with (program.folder / "devenv.toml").open("a") as settings:
        settings.write("[ports]\nairflow = 18300\nvault = 18400\n")  # another test's minikube may be starting
    try:
        program.run("up", "--detach")
        program.run("sync")
        program.run("run", "hello", "--wait", seconds=420)
        yield Deployed(program, PROFILE)
    finally:
        delete_profile(PROFILE)


def components(deployed: Deployed) -> dict[str, str]:
    """What the environment is made of, and which image each part runs."""
    (status,) = [line.data for line in deployed.program.json("status") if line.type == "devenv.status"]
    assert {item["health"] for item in status["components"]} == {"running"}
    return {item["name"]: item["image"] for item in status["components"]}


def started(deployed: Deployed) -> dict[str, str]:
    """Component → when its pod was made."""
    pods: list[dict[str, Any]] = json.loads(deployed.kubectl("get", "pods", "-o", "json"))["items"]
    return {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["metadata"]["creationTimestamp"]
        for pod in pods
        if pod["status"]["phase"] == "Running"
    }


def test_up_with_a_later_release_takes_the_database_along(moved: Deployed) -> None:
    ((before, state),) = moved.sql(RUNS)
    assert state == "success"
    moved.up("--airflow-version", "3.3.2")
    images = components(moved)
    assert {name for name, image in images.items() if image == "apache/airflow:3.3.2"} == {
        "scheduler",
        "dag-processor",
        "api-server",
        "triggerer",
        "agent",
    }
    assert {"postgres", "vault"} <= set(images)
    moved.until(lambda: "webserver" not in started(moved), "the webserver of 2.7.2 has ended")
    assert moved.sql(RUNS) == [[before, "success"]]
    assert "hello from a task" in moved.program.run("logs", "hello", "say")


def test_a_dag_runs_in_a_task_pod_of_the_new_release(moved: Deployed) -> None:
    moved.program.run("run", "hello", "--wait", seconds=420)
    assert [state for _run, state in moved.sql(RUNS)] == ["success", "success"]
    assert "hello from a task" in moved.program.run("logs", "hello", "say")
    listed = moved.kubectl("get", "events", "--field-selector", "reason=Pulled", "-o", "json")
    ran = [
        event["message"]
        for event in json.loads(listed)["items"]
        if event["involvedObject"]["name"].startswith("hello-say") and "{base}" in event["involvedObject"]["fieldPath"]
    ]
    assert any('"apache/airflow:3.3.2"' in message for message in ran)


def test_verdicts_arrive_from_the_agent_and_from_the_dag_processor(moved: Deployed) -> None:
    path = moved.program.folder / "dags" / "hello.py"
    with moved.program.watching() as watch:
        watch.verdict("dags/hello.py", ok=True)
        path.write_text("import pandaz\n" + HELLO)
        (problem, *_others) = watch.verdict("dags/hello.py", ok=False)["problems"]
        assert "pandaz" in problem["message"]
        watch.parsed("dags/hello.py")
        (error,) = moved.sql("SELECT stacktrace FROM import_error")
        assert "No module named 'pandaz'" in error[0]
        assert "pandaz" in moved.program.run("status")
        path.write_text(HELLO)
        watch.verdict("dags/hello.py", ok=True)
        watch.parsed("dags/hello.py")


def test_back_is_refused_at_once_and_nothing_is_changed(moved: Deployed) -> None:
    before = started(moved)
    refused = moved.program.json("up", "--detach", "--airflow-version", "2.7.2", code=5)[-1].data
    assert refused["code"] == "DEVENV-234"
    assert refused["message"].startswith("The metadata database is that of Airflow 3.3.2, and Airflow 2.7.2 cannot")
    assert refused["hint"].startswith("devenv up --airflow-version 3.3.2;")
    assert started(moved) == before
    # The other commands are still about what runs.
    assert components(moved)["scheduler"] == "apache/airflow:3.3.2"
    moved.program.run("run", "hello", "--wait", seconds=420)


def test_back_is_refused_also_where_only_the_database_knows(moved: Deployed) -> None:
    moved.kubectl("annotate", "pvc", "postgres-data", "devenv.io/airflow-release-")
    refused = moved.program.json("up", "--detach", "--airflow-version", "2.7.2", code=5)[-1].data
    assert refused["code"] == "DEVENV-234"
    assert [state for _run, state in moved.sql(RUNS)] == ["success"] * 3
