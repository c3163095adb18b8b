"""Small repositories, each laid out as for something else, whose DAG works there only with all that belongs to it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.program import Program

_DAG = """\
import os
from datetime import datetime

from airflow import DAG
from airflow.operators.python import PythonOperator
{imports}

assert os.environ["TEAM"] == "shop", "at parse"
{top}

def work():
    assert os.environ["TEAM"] == "shop", "in the task"
    {body}
    print("all of it is there")


with DAG("shop_daily", start_date=datetime(2024, 1, 1), schedule=None, catchup=False):
    PythonOperator(task_id="work", python_callable=work)
"""
_COMPOSE = """
x-airflow-common: &airflow-common
  image: ${AIRFLOW_IMAGE_NAME:-apache/airflow:2.7.2}
  environment: &airflow-common-env
    AIRFLOW__CORE__EXECUTOR: CeleryExecutor
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN: postgresql+psycopg2://airflow:airflow@postgres/airflow
    AIRFLOW__CORE__FERNET_KEY: ''
    AIRFLOW__CORE__LOAD_EXAMPLES: 'true'
    TEAM: ${TEAM:-nobody}
    PYTHONPATH: /opt/airflow/src:/opt/airflow/dags/libs
  volumes:
    - ${AIRFLOW_PROJ_DIR:-.}/pipelines:/opt/airflow/dags
    - ${AIRFLOW_PROJ_DIR:-.}/src:/opt/airflow/src
    - ${AIRFLOW_PROJ_DIR:-.}/sql:/opt/airflow/sql
    - ${AIRFLOW_PROJ_DIR:-.}/logs:/opt/airflow/logs
services:
  postgres: {image: 'postgres:13'}
  redis: {image: 'redis:7.2-bookworm'}
  airflow-webserver: {<<: *airflow-common, command: webserver}
  airflow-scheduler: {<<: *airflow-common, command: scheduler}
"""


def _dag(imports: str = "", top: str = "", body: str = "pass") -> str:
    return _DAG.format(imports=imports, top=top, body=body)


@dataclass(frozen=True)
class Layout:
    """A repository.

    Attributes:
        files: path → text.
        dag: the path of its DAG file.
        init: arguments of `devenv init`, for what is taken over only at a word.
    """

    files: dict[str, str]
    dag: str
    init: tuple[str, ...] = ()
    release: str = field(default="2.7.2")

    def clone(self, folder: Path) -> Path:
        """Makes a git repository of it below a folder, and clones that as a user would."""
        origin, clone = folder / "origin", folder / "clone"
        for name, text in self.files.items():
            path = origin / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
        for command in (["init", "--quiet"], ["add", "--all", "--force"], ["commit", "--quiet", "-m", "all"]):
            subprocess.run([*git, *command], cwd=origin, check=True)
        subprocess.run([*git, "clone", "--quiet", origin, clone], check=True)
        return clone

    def live(self, program: Program, *flags: str) -> None:
        """From `devenv up` in the clone to a run, a broken save and its repair."""
        if self.init:
            program.run("init", "--yes", *self.init)
        program.run("check")
        program.run("up", "--detach", *flags)
        with program.watching() as watch:
            file = program.folder / self.dag
            text = file.read_text()
            watch.verdict(self.dag, ok=True)
            program.run("run", "shop_daily", "--wait")
            assert "all of it is there" in program.run("logs", "shop_daily", "work")
            file.write_text(text + "\nimport not_there_at_all\n")
            assert watch.verdict(self.dag, ok=False)["problems"][0]["type"] == "ModuleNotFoundError"
            file.write_text(text)
            watch.verdict(self.dag, ok=True)


LAYOUTS = {
    "plain": Layout(
        {
            "dags/daily.py": _dag(
                "from common.defaults import OWNER\nfrom include.words import hello\nfrom operators import Ours",
                'with open("include/shops.json") as stream:\n    SHOPS = stream.read()',
                'assert (hello(), OWNER) == ("hello", "team") and open("include/shops.json").read() == SHOPS',
            ),
            "include/__init__.py": "",
            "include/words.py": "def hello(): return 'hello'\n",
            "include/shops.json": '["north"]',
            "common/__init__.py": "",
            "common/defaults.py": "OWNER = 'team'\n",
            "plugins/operators.py": "class Ours: pass\n",
            ".env": "TEAM=shop\n",
        },
        "dags/daily.py",
    ),
    "astro": Layout(
        {
            "Dockerfile": "FROM quay.io/astronomer/astro-runtime:9.21.0\nENV TEAM=shop\n",
            "dags/daily.py": _dag("from include.words import hello", "", 'assert hello() == "hello"'),
            "include/words.py": "def hello(): return 'hello'\n",
            "plugins/.gitkeep": "",
            "requirements.txt": "# nothing\n",
            "packages.txt": "",
            "airflow_settings.yaml": "airflow:\n  variables:\n    - {variable_name: region, variable_value: eu}\n",
            ".astro/config.yaml": "project:\n  name: shop\n",
        },
        "dags/daily.py",
        release="2.7.3",
    ),
    "composer": Layout(
        {
            "terraform/main.tf": 'software_config { image_version = "composer-2.5.1-airflow-2.7.2" }\n',
            "dags/daily.py": _dag("from hooks import Ours", "", 'assert open("data/shops.csv").read() == "north"'),
            "data/shops.csv": "north",
            "plugins/hooks.py": "class Ours: pass\n",
            ".env": "TEAM=shop\n",
        },
        "dags/daily.py",
    ),
    "mwaa": Layout(
        {
            "dags/daily.py": _dag("import six\nfrom hooks import Ours"),
            "requirements.txt": "--constraint https://raw.githubusercontent.com/apache/airflow/constraints-2.7.2/constraints-3.11.txt\nsix\n",
            "plugins/hooks.py": "class Ours: pass\n",
            "startup.sh": "#!/bin/sh\nexport TEAM=shop\n",
        },
        "dags/daily.py",
    ),
    "compose": Layout(
        {
            "docker-compose.yaml": _COMPOSE,
            ".env": "TEAM=shop\nAIRFLOW_UID=50000\n",
            "pipelines/daily.py": _dag(
                "import bare\nfrom shop.defaults import OWNER",
                'QUERY = open(os.path.join(os.environ["AIRFLOW_HOME"], "sql", "q.sql")).read()',
                'assert (OWNER, QUERY, bare.NAME) == ("team", "select 1", "bare")',
            ),
            "pipelines/libs/bare.py": "NAME = 'bare'\n",
            "src/shop/__init__.py": "",
            "src/shop/defaults.py": "OWNER = 'team'\n",
            "sql/q.sql": "select 1",
        },
        "pipelines/daily.py",
    ),
    "official-chart": Layout(
        {
            "deploy/values.yaml": "airflowVersion: 2.7.2\nexecutor: KubernetesExecutor\n"
            "env: [{name: TEAM, value: shop}]\n"
            "config: {core: {default_timezone: Europe/Paris}}\ndags: {gitSync: {enabled: true, subPath: etl/dags}}\n",
            "etl/dags/daily.py": _dag(
                body="from airflow.configuration import conf; "
                'assert conf.get("core", "default_timezone") == "Europe/Paris"'
            ),
        },
        "etl/dags/daily.py",
        init=("--from", "deploy/values.yaml"),
    ),
    "community-chart": Layout(
        {
            "values.yaml": "airflow:\n  image: {repository: apache/airflow, tag: 2.7.2-python3.11}\n"
            "  executor: CeleryExecutor\n  config: {AIRFLOW__CORE__DEFAULT_TIMEZONE: Europe/Paris}\n"
            "  extraEnv: [{name: TEAM, value: shop}]\n  extraPipPackages: [six]\n"
            "dags: {gitSync: {enabled: true, repoSubPath: flows}}\n",
            "flows/daily.py": _dag("import six"),
        },
        "flows/daily.py",
        init=("--from", "values.yaml"),
    ),
    "own-image": Layout(
        {
            "Dockerfile": "FROM apache/airflow:2.7.2-python3.11\nENV TEAM=shop PYTHONPATH=/opt/airflow\n"
            "COPY requirements/prod.txt /tmp/prod.txt\nRUN pip install --no-cache-dir -r /tmp/prod.txt\n"
            "COPY dags/ ${AIRFLOW_HOME}/dags/\nCOPY config ${AIRFLOW_HOME}/config\n"
            "COPY common/ ${AIRFLOW_HOME}/common/\n",
            "requirements/prod.txt": "--require-hashes\nsix==1.16.0 ; python_version > '3' \\\n"
            "  --hash=sha256:1e61c37477a1626458e36f7b1d82aa5c9b094fa4802892072e49de9c60c4c926 \\\n"
            "  --hash=sha256:8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254\n",
            "dags/daily.py": _dag(
                "import six\nfrom common.defaults import OWNER", "", 'assert open("config/x.json").read() == "{}"'
            ),
            "common/defaults.py": "OWNER = 'team'\n",
            "config/x.json": "{}",
        },
        "dags/daily.py",
    ),
    "root": Layout(
        {"daily.py": _dag("import helper"), "helper.py": "", "README.md": "", ".env": "TEAM=shop\n"},
        "daily.py",
    ),
    "local-packages": Layout(
        {
            "airflow/dags/daily.py": _dag("from mylib import NAME", "", 'assert NAME == "mylib"'),
            "airflow/requirements.txt": "-r base.txt\n./libs/mylib\n",
            "airflow/base.txt": "six\n",
            "airflow/libs/mylib/pyproject.toml": '[project]\nname = "mylib"\nversion = "1"\n'
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
            "airflow/libs/mylib/mylib/__init__.py": "NAME = 'mylib'\n",
            "airflow/.env": "TEAM=shop\n",
        },
        "airflow/dags/daily.py",
    ),
}
