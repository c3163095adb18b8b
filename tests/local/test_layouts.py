"""A repository as others lay theirs out, with no setting written by hand: judged and run as its owner's."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.check.run import check, find_python
from devenv.environment import Environment
from devenv.events import Notice, VerdictReached
from devenv.project import Project
from devenv.vault import seeds

from .conftest import cache_folder, eventually, is_healthy, watching, world

pytestmark = [pytest.mark.local, pytest.mark.timeout(900)]

FILES = {
    "dags/uses_all.py": """
import json
import os
from datetime import datetime

from airflow import DAG
from airflow.models import Variable
from airflow.operators.python import PythonOperator
from common.defaults import OWNER
from include.words import hello
from shop_operators import Monday

with open("include/shops.json") as stream:
    SHOPS = json.load(stream)
with open(os.path.join(os.environ["AIRFLOW_HOME"], "dags", "query.sql")) as stream:
    QUERY = stream.read()
BUCKET, REGION = os.environ["TEAM_BUCKET"], Variable.get("region")


def work():
    assert os.environ["TEAM_BUCKET"] == BUCKET == "s3://team"
    assert (hello(), OWNER, SHOPS, REGION) == ("hello", "team", ["north"], "eu")
    assert os.path.exists("include/shops.json")
    assert os.environ.get("TEAM_TOKEN", "?") == ("t" if "DEVENV_SECRETS_FOLDER" in os.environ else "?")


with DAG("uses_all", start_date=datetime(2024, 1, 1), schedule=Monday(), catchup=False, tags=[QUERY.strip()]):
    PythonOperator(task_id="work", python_callable=work)
""",
    "dags/query.sql": "select 1\n",
    "include/__init__.py": "",
    "include/words.py": "def hello(): return 'hello'\n",
    "include/shops.json": '["north"]',
    "common/__init__.py": "",
    "common/defaults.py": "OWNER = 'team'\n",
    "plugins/shop_operators.py": """
from airflow.plugins_manager import AirflowPlugin
from airflow.timetables.interval import CronDataIntervalTimetable


class Monday(CronDataIntervalTimetable):
    def __init__(self):
        super().__init__("0 0 * * 1", "UTC")

    def serialize(self):
        return {}

    @classmethod
    def deserialize(cls, data):
        return cls()


class ShopPlugin(AirflowPlugin):
    name = "shop"
    timetables = [Monday]
""",
    ".env": "TEAM_BUCKET=s3://team\nAIRFLOW_VAR_REGION=eu\nAIRFLOW__CORE__EXECUTOR=CeleryExecutor\n",
    "Dockerfile": "FROM apache/airflow:2.7.2\n",
}


def lay_out(folder: Path) -> None:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(folder: Path, variables: dict[str, str]) -> Project:
    return Project.find(folder, Environment(variables=variables, cwd=folder))


def test_check(tmp_path: Path) -> None:
    lay_out(tmp_path)
    project = found(tmp_path, {**Environment().variables, "DEVENV_CACHE": str(cache_folder())})
    python = find_python(project, None, lambda _event: None)
    (verdict,) = check(project, [], python=python, safe_mode=None, report=lambda _event: None)
    assert (verdict.ok, verdict.dag_ids) == (True, ("uses_all",))


def test_a_run_on_the_local_backend(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        lay_out(made.folder)
        (made.folder / "devenv.toml").write_text('[environment]\nTEAM_TOKEN = "vault:team/reader#TOKEN"\n')
        project = found(made.folder, made.variables)
        with seeds.locked(project):
            seeds.save(project, seeds.load_or_create(project).with_values("team/reader", {"TOKEN": "t"}))
        made.settings = project.settings.model_copy(update={"ports": made.settings.ports})
        made.up()
        eventually(lambda: is_healthy(made))
        with watching(made):
            verdict = eventually(lambda: [one.verdict for one in made.of(VerdictReached) if one.verdict.dag_ids])[0]
            assert verdict.ok
            client = made.backend().airflow()
            eventually(lambda: [one for one in made.of(Notice) if one.message.startswith("Airflow's plugins changed")])
            eventually(lambda: is_healthy(made) and not client.import_errors() and client.find_dag("uses_all"))
            client.unpause("uses_all")
            assert client.wait_run("uses_all", client.trigger("uses_all", {}), seconds=180).state == "success"
