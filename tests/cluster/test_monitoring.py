"""Monitoring on a real cluster: a failing task's dag_id is seen in Prometheus, an alert fires and reaches a receiver.

Grafana needs an image that is not everywhere: the API server checks its manifests, and Prometheus runs its queries.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from devenv.resources import platform_folder
from tests.support.parts import Parts, parts_in, settings_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

NAMESPACE = "monitoring-test"
FIRST = settings_for(NAMESPACE, components=("monitoring",))
COMPONENT = platform_folder() / "components" / "monitoring"
FAILS = """\
from datetime import datetime
from airflow.decorators import dag, task

@dag(start_date=datetime(2024, 1, 1), schedule="@once", catchup=False, is_paused_upon_creation=False)
def fails():
    @task
    def break_down():
        raise RuntimeError("on purpose")
    break_down()

fails()
"""
RECEIVER = """\
import http.server

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

http.server.HTTPServer(("", 8080), Receiver).serve_forever()
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with parts_in(tmp_path_factory.mktemp("monitoring"), FIRST) as parts:
        parts.wait(*(f"deploy/{name}" for name in ("agent", "scheduler")))
        yield parts


def query(parts: Parts, expression: str) -> list[dict[str, Any]]:
    """What Prometheus answers now."""
    url = f"http://prometheus:9090/api/v1/query?query={quote(expression)}"
    fetch = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
    answer = json.loads(parts.run("python", "-c", fetch, url, component="agent"))
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def test_a_failure_is_seen_and_told(parts: Parts) -> None:
    image = parts.settings.airflow_image
    parts.kubectl("run", "receiver", f"--image={image}", "--port=8080", "--expose", "--", "python", "-c", RECEIVER)
    # Applied again with the webhook in Vault; the init container fetches it.
    webhook = {"slack/webhook": {"SLACK_WEBHOOK_URL": "http://receiver:8080/hook"}}
    parts.apply(parts.settings, webhook)
    parts.kubectl("rollout", "restart", "deploy/alertmanager")
    parts.wait("deploy/prometheus", "deploy/alertmanager", "deploy/statsd")

    parts.put_dag("fails", FAILS)
    failures = 'airflow_task_failures_total{dag_id="fails"}'
    parts.until(lambda: bool(query(parts, failures)), "the failure is in Prometheus")
    assert query(parts, failures)[0]["value"][1] == "1"
    # Side-cars of all core components, and the exporter of task pods.
    assert len(query(parts, "up == 1")) >= 4

    dashboard = json.loads((COMPONENT / "dashboards" / "airflow.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        (target,) = panel["targets"]
        shown = target["expr"]
        parts.until(lambda shown=shown: bool(query(parts, shown)), f"panel {panel['title']} shows something")  # type: ignore[misc]

    def told() -> str:
        return parts.kubectl("logs", "receiver")

    parts.until(lambda: "Task break_down of fails failed" in told(), "the alert that resolves reaches the receiver")
    assert "#airflow-alerts" in told()
    parts.until(lambda: "Job fails failed 1 times" in told(), "the alert on the counter does", seconds=500)


def test_the_manifests_are_accepted(parts: Parts) -> None:
    overlay = parts.project.state_folder / "overlay"
    said = parts.kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-k", str(overlay))
    assert "deployment.apps/grafana" in said


def test_the_rules_do_what_they_say() -> None:
    tests = Path(__file__).parent / "monitoring"
    docker = ["docker", "run", "--rm", "-v", f"{COMPONENT}:/rules:ro", "-v", f"{tests}:/tests:ro"]
    command = [*docker, "--entrypoint", "promtool", "prom/prometheus:latest", "test", "rules", "/tests/rules_test.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
