"""Lineage on a real cluster, by `devenv up --with lineage`: OpenLineage's events of runs and tasks arrive.

Marquez' image is not everywhere. A small server takes its place under the name that `images.marquez` gives: it logs in
to the database as Marquez' own configuration says, and prints the events that are posted to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.deployed import Deployed
from tests.support.stand_in import make_stand_in

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

IMAGE = "devenv-test/marquez:latest"
MARQUEZ = """\
import http.server, os, re
import psycopg2, yaml

with open(os.environ["MARQUEZ_CONFIG"]) as file:
    config = yaml.safe_load(file)
url = re.fullmatch(r"jdbc:postgresql://(.+):(\\d+)/(\\w+)", config["db"]["url"])
host, port, database = url.groups()
psycopg2.connect(
    host=host, port=port, dbname=database, user=config["db"]["user"], password=config["db"]["password"]
).close()
print("connected to", database, flush=True)

class Lineage(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        print(self.path, body, flush=True)
        self.send_response(201)
        self.end_headers()

    def log_message(self, *arguments):
        pass

(connector,) = config["server"]["applicationConnectors"]
http.server.ThreadingHTTPServer(("", connector["port"]), Lineage).serve_forever()
"""
LINKED = """\
from datetime import datetime
from airflow import DAG
from airflow.operators.bash import BashOperator

with DAG("linked", start_date=datetime(2024, 1, 1), schedule=None, catchup=False):
    BashOperator(task_id="say", bash_command="echo hello")
"""
ALL = {("linked", "START"), ("linked", "COMPLETE"), ("linked.say", "START"), ("linked.say", "COMPLETE")}
FILE = "/opt/airflow/logs/lineage.jsonl"
TRANSPORTS = [{"type": "file", "log_file_path": FILE, "append": True}, {"type": "console"}]
WITHOUT_MARQUEZ = f"""\
[airflow.config.openlineage]
transport = '{json.dumps({"type": "composite", "transports": TRANSPORTS})}'
"""


@pytest.fixture(scope="module")
def linked(deployed: Deployed) -> Iterator[Deployed]:
    """The environment with lineage, and the provider's release that the published images of Airflow 2.7.2 pin."""
    make_stand_in(IMAGE, MARQUEZ)
    folder = deployed.program.folder
    requirements, dag = folder / "requirements.txt", folder / "dags" / "linked.py"
    requirements.write_text("apache-airflow-providers-openlineage==1.1.1\n")
    try:
        with deployed.settings(f'[images]\nmarquez = "{IMAGE}"\nbuild_network = "host"\n'):
            deployed.up("--with", "lineage")
            deployed.put_dag("linked", LINKED)
            yield deployed
    finally:
        requirements.unlink(missing_ok=True)
        dag.unlink(missing_ok=True)
        deployed.up("--executor", "KubernetesExecutor")
        deployed.program.run("sync", "--yes")


def told(events: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Job and type of each."""
    return {(event["job"]["name"], event["eventType"]) for event in events}


def test_events_of_runs_and_tasks_reach_marquez(linked: Deployed) -> None:
    linked.program.run("run", "linked", "--wait")

    def events() -> list[dict[str, Any]]:
        lines = linked.kubectl("logs", "deploy/marquez", "-c", "marquez").splitlines()
        return [json.loads(body) for path, _, body in (line.partition(" ") for line in lines) if "lineage" in path]

    linked.until(lambda: told(events()) == ALL, "all events arrive")
    assert {event["job"]["namespace"] for event in events()} == {"airflow"}
    assert len({event["run"]["runId"] for event in events() if event["job"]["name"] == "linked.say"}) == 1


def test_marquez_logs_in_to_a_database_of_its_own(linked: Deployed) -> None:
    assert "connected to marquez" in linked.kubectl("logs", "deploy/marquez", "-c", "marquez")


def test_without_marquez_events_go_to_a_file_and_to_the_tasks_log(linked: Deployed) -> None:
    # What devenv installs by itself: the newest provider that fits the release.
    (linked.program.folder / "requirements.txt").unlink()
    with linked.settings(WITHOUT_MARQUEZ):
        linked.up("--executor", "KubernetesExecutor")
        linked.program.run("run", "linked", "--wait")

        def events() -> list[dict[str, Any]]:
            text = linked.run("cat", FILE, check=False)
            return [json.loads(line) for line in text.splitlines()]

        linked.until(lambda: told(events()) == ALL, "all events are in the file")
        log = linked.program.run("logs", "linked", "say")
        assert '"eventType": "START"' in log
        assert '"eventType": "COMPLETE"' in log
    assert not linked.kubectl("get", "deploy,service", "-l", "app.kubernetes.io/component=marquez", "-o", "name")
    assert linked.sql("SELECT 1 FROM pg_database WHERE datname = 'marquez'")
