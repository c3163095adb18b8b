"""The sample DAGs on a real cluster, as a user runs them. TaskFlow and secrets are part of the main job's tests."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from tests.support.deployed import Deployed
from tests.support.receiver import Receiver

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

SAMPLES = (
    "kubernetes_pod_example",
    "load_stock",
    "load_sales",
    "retries_and_alerts",
    "task_resources",
    "deferrable_example",
    "backfill_example",
)
CONFIG = """\
owner: logistics
tables: [parcels]
"""


@pytest.fixture(scope="module")
def samples(deployed: Deployed) -> Deployed:
    """The environment, once its scheduler has the samples."""
    deployed.program.run("sync", "--yes")
    names = ", ".join(f"'{name}'" for name in SAMPLES)
    known = f"SELECT count(*) FROM serialized_dag WHERE dag_id IN ({names})"
    deployed.until(lambda: deployed.sql(known) == [[str(len(SAMPLES))]], "all samples are parsed")
    return deployed


class TaskPod(NamedTuple):
    """What a task's pod was seen to be."""

    name: str
    task: str
    cpu: str
    memory: str


@contextmanager
def task_pods(deployed: Deployed) -> Iterator[Callable[[], set[TaskPod]]]:
    """Every task pod from now on, however short its life: kubectl watches."""
    notes, requests = ".metadata.annotations", '.spec.containers[?(@.name=="base")].resources.requests'
    columns = (f"{notes}.dag_id", f"{notes}.task_id", f"{requests}.cpu", f"{requests}.memory")
    line = "{.metadata.name} {%s}.{%s} {%s} {%s}{'\\n'}" % columns  # noqa: UP031 (the braces are kubectl's)
    command = ["kubectl", "--context", deployed.context, "-n", deployed.namespace, "get", "pod", "--watch"]
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen([*command, "-l", "kubernetes_executor=True", "-o", f"jsonpath={line}"], stdout=said)

        def seen() -> set[TaskPod]:
            said.seek(0)
            return {TaskPod(*words) for text in said if len(words := text.split()) == len(TaskPod._fields)}

        try:
            yield seen
        finally:
            child.terminate()
            child.wait()


def test_a_pod_operator_runs_an_image(samples: Deployed) -> None:
    samples.program.run("run", "kubernetes_pod_example", "--wait")
    assert "5050" in samples.program.run("logs", "kubernetes_pod_example", "count")


def test_resources_of_a_task_are_on_its_pod(samples: Deployed) -> None:
    with task_pods(samples) as seen:
        samples.program.run("run", "task_resources", "--wait")
        found = {pod.task: (pod.cpu, pod.memory) for pod in seen()}
    assert found["task_resources.big"] == ("250m", "512Mi")
    assert found["task_resources.usual"] == ("500m", "1Gi")


def test_a_deferred_task_has_no_pod_while_the_triggerer_waits(samples: Deployed) -> None:
    with task_pods(samples) as seen:
        samples.program.run("run", "deferrable_example", "--wait")
        waiting = [pod for pod in seen() if pod.task == "deferrable_example.wait"]
    assert len(waiting) == 2  # one until it deferred itself, one after the trigger had fired
    log = samples.program.run("logs", "deferrable_example", "wait")
    assert "Pausing task as DEFERRED" in log
    assert "fired: TriggerEvent" in log  # the triggerer wrote this


def test_retries_then_an_alert_to_slack_when_all_have_failed(samples: Deployed, slack: Receiver) -> None:
    samples.program.run("run", "retries_and_alerts", "--wait")
    tries = "SELECT try_number FROM task_instance WHERE dag_id = 'retries_and_alerts' AND state = 'success'"
    assert samples.sql(tries) == [["2"]]
    told = len(slack.texts)
    said = samples.program.run("run", "retries_and_alerts", "--conf", '{"fail": true}', "--wait", code=1)
    assert "succeeded" not in said
    (text,) = slack.texts[told:]
    assert text.startswith("retries_and_alerts.flaky failed in manual__")


def test_a_file_in_config_is_a_dag_and_a_wrong_one_names_its_line(samples: Deployed) -> None:
    samples.program.run("run", "load_stock", "--wait")
    file = "dags/dynamic_from_config.py"
    path = samples.program.folder / "dags" / "config" / "parcels.yaml"
    with samples.program.watching() as watch:
        watch.verdict(file, ok=True)
        path.write_text(CONFIG + "retrys: 3\n")
        (problem,) = watch.verdict(file, ok=False)["problems"]
        assert "config/parcels.yaml:3: unknown key 'retrys'" in problem["message"]
        path.write_text(CONFIG)
        assert "load_parcels" in watch.verdict(file, ok=True)["dag_ids"]
        samples.program.run("run", "load_parcels", "--wait")
        path.unlink()
        assert watch.verdict(file, ok=True)["removed"] == ["load_parcels"]


def test_a_backfill_runs_each_day_in_a_pod_of_its_own_at_once(samples: Deployed) -> None:
    with task_pods(samples) as seen:
        samples.program.run("backfill", "backfill_example", "--from", "2026-01-01", "--to", "2026-01-03")
        pods = {pod.name for pod in seen() if pod.task == "backfill_example.load_day"}
    rows = samples.sql(
        "SELECT hostname, state, queued_dttm < min(end_date) OVER () FROM task_instance "
        "WHERE dag_id = 'backfill_example' AND run_id LIKE 'backfill%'"
    )
    assert {(state, before_the_first_ended) for _, state, before_the_first_ended in rows} == {("success", "True")}
    # A pod's name is its host's name.
    assert sorted(hostname for hostname, _, _ in rows) == sorted(pods)
    assert len(pods) == 3
