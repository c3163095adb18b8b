"""Lineage on a real cluster: OpenLineage's events of a task arrive where Marquez listens.

Marquez needs an image that is not everywhere: a receiver takes its place behind the Service `marquez`, and the API
server checks its manifests.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from devenv.settings.schema import ImageSettings
from tests.support.parts import Parts, named_context, parts_in, settings_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

NAMESPACE = "lineage-test"
IMAGE = "devenv-test/airflow-lineage:2.7.2"
FIRST = settings_for(NAMESPACE, components=("lineage",), images=ImageSettings(airflow=IMAGE))
DOCKERFILE = """\
FROM apache/airflow:2.7.2
RUN pip install --no-cache-dir apache-airflow-providers-openlineage==1.1.1 \
    "openlineage-integration-common<1.6" "openlineage-python<1.6"
"""
LINKED = """\
from datetime import datetime
from airflow.operators.bash import BashOperator
from airflow import DAG

with DAG("linked", start_date=datetime(2024, 1, 1), schedule="@once", catchup=False, is_paused_upon_creation=False):
    BashOperator(task_id="say", bash_command="echo hello")
"""
RECEIVER = """\
import http.server

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        print(self.path, body, flush=True)
        self.send_response(201)
        self.end_headers()

    def log_message(self, *arguments):
        pass

http.server.HTTPServer(("", 5000), Receiver).serve_forever()
"""


def put_image(context: str) -> None:
    """Builds Airflow's image with the provider, as a `requirements.txt` would, and brings it to the node."""
    build = ["docker", "build", "--network=host", "-t", IMAGE, "-"]
    subprocess.run(build, input=DOCKERFILE, text=True, check=True, capture_output=True)
    there = subprocess.run(["minikube", "-p", context, "image", "ls"], capture_output=True, text=True, check=True)
    if IMAGE not in there.stdout:
        subprocess.run(["minikube", "-p", context, "image", "load", IMAGE], check=True, capture_output=True)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    put_image(named_context())
    with parts_in(tmp_path_factory.mktemp("lineage"), FIRST) as parts:
        parts.wait("deploy/agent", "deploy/scheduler")
        yield parts


def test_events_reach_the_service_of_marquez(parts: Parts) -> None:
    label = "--labels=app.kubernetes.io/component=marquez"
    parts.kubectl("run", "receiver", f"--image={IMAGE}", label, "--", "python", "-c", RECEIVER)
    parts.kubectl("wait", "pod/receiver", "--for=condition=Ready", "--timeout=120s")
    parts.put_dag("linked", LINKED)

    def events() -> list[tuple[str, str]]:
        lines = [line for line in parts.kubectl("logs", "receiver").splitlines() if line.startswith("/api/v1/lineage ")]
        told = [json.loads(line.partition(" ")[2]) for line in lines]
        return [(event["job"]["name"], event["eventType"]) for event in told]

    parts.until(lambda: {("linked.say", "START"), ("linked.say", "COMPLETE")} <= set(events()), "events arrive")


def test_marquez_has_a_database(parts: Parts) -> None:
    """Its init containers run before its image is needed."""
    made = "SELECT datname FROM pg_database WHERE datname = 'marquez'"
    parts.until(lambda: parts.sql(made) == [["marquez"]], "the database is made")
