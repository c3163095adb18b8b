"""Monitoring on a real cluster, by `devenv up --with monitoring`: metrics are scraped, alerts reach Slack's place.

Grafana's image is not everywhere. A small server takes its place under the name that `images.grafana` gives, so that
`up` completes: it answers Grafana's readiness path and nothing else. That Grafana would find its files and its login is
looked at in that pod, and the queries of its dashboard are run by the real Prometheus. The operator's objects meet
definitions that know the fields that they use; the operator itself does not run.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from devenv.resources import platform_folder
from tests.support.deployed import Deployed
from tests.support.receiver import Receiver
from tests.support.stand_in import make_stand_in

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

IMAGE = "devenv-test/grafana:latest"
GRAFANA = """\
import http.server

class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

http.server.ThreadingHTTPServer(("", 3000), Health).serve_forever()
"""
FAILS = """\
from datetime import datetime
from airflow.decorators import dag, task

@dag(start_date=datetime(2024, 1, 1), schedule=None, catchup=False)
def fails():
    @task
    def work():
        print("done")

    @task
    def break_down():
        raise RuntimeError("on purpose")

    work() >> break_down()

fails()
"""
PLATFORM = platform_folder()
COMPONENT = PLATFORM / "components" / "monitoring"
TESTS = Path(__file__).parent / "monitoring"
PARTS = {"prometheus", "alertmanager", "grafana", "statsd"}


@pytest.fixture(scope="module")
def monitored(deployed: Deployed) -> Iterator[Deployed]:
    """The environment with monitoring, in which a DAG has failed; without it again at the end."""
    make_stand_in(IMAGE, GRAFANA)
    try:
        with deployed.settings(f'[images]\ngrafana = "{IMAGE}"\n'):
            deployed.up("--with", "monitoring")
            deployed.put_dag("fails", FAILS)
            deployed.program.run("run", "fails", "--wait", code=1)
            yield deployed
    finally:
        (deployed.program.folder / "dags" / "fails.py").unlink(missing_ok=True)
        deployed.up("--executor", "KubernetesExecutor")
        deployed.program.run("sync", "--yes")


def query(deployed: Deployed, expression: str) -> list[dict[str, Any]]:
    """What Prometheus answers now."""
    url = f"http://prometheus:9090/api/v1/query?query={quote(expression)}"
    fetch = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
    answer = json.loads(deployed.run("python", "-c", fetch, url, component="agent"))
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def addresses(deployed: Deployed) -> dict[str, str]:
    """Component → where its pod shows metrics."""
    listed = json.loads(deployed.kubectl("get", "pod", "-l", "devenv.io/metrics=statsd", "-o", "json"))
    return {
        pod["metadata"]["labels"]["app.kubernetes.io/component"]: f"{pod['status']['podIP']}:9102"
        for pod in listed["items"]
    }


def test_every_component_of_airflow_and_the_service_for_task_pods_are_scraped(monitored: Deployed) -> None:
    wanted = addresses(monitored)
    assert set(wanted) == {"scheduler", "webserver", "triggerer", "statsd"}

    def scraped() -> set[str]:
        return {each["metric"]["instance"] for each in query(monitored, "up == 1")}

    monitored.until(lambda: scraped() == set(wanted.values()), "Prometheus scrapes them all, and nothing else")


def test_a_failing_tasks_dag_id_is_in_prometheus(monitored: Deployed) -> None:
    failures = 'airflow_task_failures_total{dag_id="fails"}'
    monitored.until(lambda: bool(query(monitored, failures)), "the failure is in Prometheus")
    (failure,) = query(monitored, failures)
    assert failure["value"][1] == "1"
    assert failure["metric"]["task_id"] == "break_down"
    # Task pods have no side-car.
    assert failure["metric"]["instance"] == addresses(monitored)["statsd"]


def test_a_task_that_sends_metrics_ends_well(monitored: Deployed) -> None:
    """The executor deletes the pods that ended with 0; Airflow 2.7's tags that are numbers would end them otherwise."""
    monitored.until(
        lambda: not monitored.kubectl("get", "pod", "-l", "dag_id=fails,task_id=work", "-o", "name"),
        "the pod of the task that succeeded is gone",
    )


def test_the_panels_queries_have_answers(monitored: Deployed) -> None:
    dashboard = json.loads((COMPONENT / "dashboards" / "airflow.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        (target,) = panel["targets"]
        shown = target["expr"]
        monitored.until(lambda shown=shown: bool(query(monitored, shown)), f"panel {panel['title']} shows something")  # type: ignore[misc]


def test_grafana_finds_data_source_dashboards_and_login(monitored: Deployed) -> None:
    def read(path: str) -> str:
        return monitored.run("cat", path, component="grafana")

    (source,) = yaml.safe_load(read("/etc/grafana/provisioning/datasources/grafana-datasource.yml"))["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load(read("/etc/grafana/provisioning/dashboards/grafana-provisioning.yml"))["providers"]
    dashboard = json.loads(read(f"{provider['options']['path']}/airflow.json"))
    assert {"Airflow DAG Duration", "Scheduler Heartbeat"} <= {panel["title"] for panel in dashboard["panels"]}
    login = monitored.program.json("secrets", "get", "grafana/admin", "--reveal")[-1].data["values"]
    assert read("/etc/airflow/grafana-user") == login["GRAFANA_USER"]
    assert read("/etc/airflow/grafana-password") == login["GRAFANA_PASSWORD"]


def test_pages_open_for_as_long_as_a_watch_runs(monitored: Deployed) -> None:
    def url(page: str) -> str:
        lines = monitored.program.json("open", page, "--print")
        return str(next(line.data["url"] for line in lines if line.type == "devenv.page"))

    with monitored.program.watching():
        with urllib.request.urlopen(f"{url('prometheus')}/api/v1/query?query=up", timeout=60) as answer:
            assert json.load(answer)["status"] == "success"
        with urllib.request.urlopen(f"{url('grafana')}/api/health", timeout=60) as answer:
            assert answer.status == 200
    refusal = monitored.program.json("open", "grafana", "--print", code=2)[-1].data
    assert "devenv watch" in refusal["hint"]


def test_the_rules_do_what_they_say() -> None:
    docker = ["docker", "run", "--rm", "-v", f"{COMPONENT}:/rules:ro", "-v", f"{TESTS}:/tests:ro"]
    command = [*docker, "--entrypoint", "promtool", "prom/prometheus:latest", "test", "rules", "/tests/rules_test.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_operators_objects_are_accepted(monitored: Deployed) -> None:
    definitions = str(TESTS / "operator-crds.yaml")
    monitored.kubectl("apply", "--server-side", "-f", definitions)
    try:
        monitored.kubectl("wait", "--for=condition=Established", "--timeout=120s", "-f", definitions)
        folder = PLATFORM / "components" / "monitoring-operator"
        said = monitored.kubectl("apply", "--server-side", "--dry-run=server", "--validate=strict", "-k", str(folder))
    finally:
        monitored.kubectl("delete", "--wait=true", "-f", definitions)
    assert "prometheusrule.monitoring.coreos.com/airflow serverside-applied" in said
    assert "servicemonitor.monitoring.coreos.com/airflow serverside-applied" in said


def test_the_alerts_reach_slacks_place(monitored: Deployed, slack: Receiver) -> None:
    """By the webhook from Vault; the one on the counter waits for five minutes."""

    def told() -> list[tuple[str, str]]:
        return [
            (message["channel"], attachment["text"].strip())
            for message in slack.messages
            for attachment in message.get("attachments", ())
        ]

    late, word_for_word = "Task break_down of fails failed", "Job fails failed 1 times"
    monitored.until(lambda: ("#airflow-alerts", late) in told(), "the alert that resolves arrives")
    monitored.until(lambda: ("#airflow-alerts", word_for_word) in told(), "the alert on the counter does", seconds=900)


def test_switched_off_nothing_of_it_is_left(monitored: Deployed) -> None:
    monitored.up("--executor", "KubernetesExecutor")
    kinds = "deployment,service,configmap,serviceaccount"
    listed = json.loads(monitored.kubectl("get", kinds, "-o", "json"))["items"]
    assert not [item["metadata"]["name"] for item in listed if item["metadata"]["name"].split("-")[0] in PARTS]
    monitored.until(lambda: not addresses(monitored), "its last pod has ended")
    assert "[metrics]" not in monitored.run("cat", "/etc/airflow/airflow.cfg")
