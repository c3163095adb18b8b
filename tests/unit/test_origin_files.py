"""What is taken from the files of an origin, and what is listed as left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomllib

from devenv.environment import Environment
from devenv.origins.complete import Completed, complete
from devenv.settings.load import load
from devenv.settings.schema import Settings

COMPOSE = """
x-airflow-common:
  &airflow-common
  image: ${AIRFLOW_IMAGE_NAME:-apache/airflow:2.10.5}
  environment:
    &airflow-common-env
    AIRFLOW__CORE__EXECUTOR: CeleryExecutor
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN: postgresql+psycopg2://airflow:airflow@postgres/airflow
    AIRFLOW__CORE__FERNET_KEY: ''
    AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK: 'true'
    AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION: 'true'
    TEAM_BUCKET: s3://${TEAM:-nobody}
    TEAM_TOKEN: ${TOKEN}
    PYTHONPATH: /opt/airflow/dags/libs:/opt/airflow/src
    _PIP_ADDITIONAL_REQUIREMENTS: ${_PIP_ADDITIONAL_REQUIREMENTS:- pandas==2.2 requests}
  volumes:
    - ${AIRFLOW_PROJ_DIR:-.}/pipelines:/opt/airflow/dags
    - ${AIRFLOW_PROJ_DIR:-.}/logs:/opt/airflow/logs
    - ${AIRFLOW_PROJ_DIR:-.}/plugins:/opt/airflow/plugins
    - ./sql:/opt/airflow/sql
    - ./files:/opt/airflow/data
    - postgres-db-volume:/var/lib/x
  depends_on: &depends {redis: {condition: service_healthy}}
services:
  postgres: {image: 'postgres:13'}
  redis: {image: 'redis:7.2-bookworm'}
  minio: {image: minio/minio}
  airflow-webserver:
    <<: *airflow-common
    command: webserver
    depends_on:
      <<: *depends
  airflow-scheduler:
    <<: *airflow-common
    command: scheduler
  airflow-init:
    <<: *airflow-common
    environment:
      <<: *airflow-common-env
      _PIP_ADDITIONAL_REQUIREMENTS: ''
      CONNECTION_CHECK_MAX_COUNT: "0"
  flower:
    <<: *airflow-common
    profiles: [flower]
"""


def make(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def values(done: Completed) -> dict[str, Any]:
    return {".".join(one.path): one.value for one in done.found}


def left(done: Completed) -> list[tuple[str, str, str]]:
    return [(one.source, one.what, one.hint) for one in done.not_taken]


def test_the_compose_file_of_airflows_documentation(tmp_path: Path) -> None:
    files = dict.fromkeys(("pipelines/a.py", "plugins/p.py", "sql/q.sql", "files/x", "src/s.py", "logs/l"), "")
    make(tmp_path, {**files, "docker-compose.yaml": COMPOSE, ".env": "TEAM=shop\n"})
    done = complete(tmp_path, Settings())
    assert values(done) == {
        "sync.dags": "pipelines",
        "airflow.version": "2.10.5",
        "sync.folders": ("plugins", "sql", "src"),
        "sync.python_path": ("dags/libs", "src"),
        "environment.AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "true",
        "environment.TEAM_BUCKET": "s3://shop",
    }
    assert left(done) == [
        ("docker-compose.yaml", "the variables TEAM_TOKEN", "set them in .env"),
        (
            "docker-compose.yaml",
            "CeleryExecutor",
            "devenv up --executor CeleryExecutor   where you need this one",
        ),
        (
            "docker-compose.yaml",
            "files/ as /opt/airflow/data",
            "devenv has each folder under its own name: $AIRFLOW_HOME/files",
        ),
        ("docker-compose.yaml", "the packages pandas==2.2 requests", "write them into requirements.txt"),
        (
            "docker-compose.yaml",
            "the services minio",
            "docker compose up --detach minio   and give DAGs their address in .env",
        ),
    ]


def test_a_compose_file_in_a_folder_with_an_image_of_its_own(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "airflow/docker-compose.yml": "services:\n  scheduler:\n"
            "    build: {context: .., dockerfile: airflow/image/Dockerfile}\n"
            "    env_file: [local.env]\n    environment: [TEAM=shop, AIRFLOW__CORE__LOAD_EXAMPLES=false]\n"
            "    volumes: [{type: bind, source: ./dags, target: /opt/airflow/dags}]\n",
            "airflow/image/Dockerfile": "FROM apache/airflow:2.9.3\nENV REGION=eu TEAM=other\n",
            "airflow/local.env": "A=1\n",
            "airflow/dags/a.py": "",
            "airflow/requirements.txt": "pandas\n",
        },
    )
    assert values(complete(tmp_path, Settings())) == {
        "sync.dags": "airflow/dags",
        "airflow.version": "2.9.3",
        "env_file": "airflow/local.env",
        "requirements": "airflow/requirements.txt",
        "environment.TEAM": "shop",
        "environment.REGION": "eu",
    }


def test_a_dockerfile(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "Dockerfile": "FROM apache/airflow:2.10.5\nUSER root\nRUN apt-get update && \\\n"
            "    apt-get install -y --no-install-recommends git libpq-dev && rm -rf /x\nUSER airflow\n"
            'ENV TEAM="data platform" \\\n  REGION=eu\nENV OLD style\nENV PYTHONPATH=${AIRFLOW_HOME}\n'
            "COPY deploy/requirements-prod.txt /r.txt\n"
            "RUN pip install --no-cache-dir -r /r.txt 'pandas>=2' dbt-core dist/*.whl\n"
            "COPY --chown=airflow:0 data/ ${AIRFLOW_HOME}/data/\nCOPY jobs ./dags\n# COPY x /opt/airflow/x\n",
            ".env": "REGION=us\n",
            "deploy/requirements-prod.txt": "x\n",
            "data/a.csv": "",
            "dags/a.py": "",
        },
    )
    done = complete(tmp_path, Settings())
    assert values(done) == {
        "airflow.version": "2.10.5",
        "requirements": "deploy/requirements-prod.txt",
        "sync.folders": ("data",),
        "sync.python_path": (".",),
        "environment.TEAM": "data platform",
        "environment.OLD": "style",
    }
    assert left(done) == [
        ("Dockerfile", "the packages pandas>=2 dbt-core", "write them into requirements.txt"),
        ("Dockerfile", "apt-get install git libpq-dev", "write these packages into packages.txt"),
    ]


OFFICIAL = """
executor: CeleryKubernetesExecutor
defaultAirflowTag: 2.10.5
env:
  - {name: TEAM, value: shop}
  - {name: PASSWORD, valueFrom: {secretKeyRef: {name: x, key: y}}}
config:
  core: {parallelism: 64, load_examples: 'True', executor: '{{ .Values.executor }}'}
  webserver: {expose_config: 'True'}
dags:
  gitSync: {enabled: true, repo: 'https://git.example.com/x.git', subPath: pipelines/dags}
"""


def test_the_values_of_a_chart_are_for_their_own_cluster_unless_they_are_named(tmp_path: Path) -> None:
    make(tmp_path, {"deploy/values-prod.yaml": OFFICIAL, "pipelines/dags/a.py": ""})
    done = complete(tmp_path, Settings())
    assert values(done) == {"sync.dags": "pipelines/dags", "airflow.version": "2.10.5"}
    assert left(done) == [
        (
            "deploy/values-prod.yaml",
            "TEAM, PASSWORD, AIRFLOW__CORE__EXECUTOR and 1 more",
            "devenv init --from deploy/values-prod.yaml   where they hold on a laptop too",
        )
    ]
    named = complete(tmp_path, Settings(), tmp_path / "deploy/values-prod.yaml")
    assert values(named) == {
        "sync.dags": "pipelines/dags",
        "airflow.version": "2.10.5",
        "environment.TEAM": "shop",
        "airflow.config.core.parallelism": "64",
    }


def test_the_community_chart(tmp_path: Path) -> None:
    text = (
        "airflow:\n  image: {repository: apache/airflow, tag: 2.8.4-python3.9}\n  executor: KubernetesExecutor\n"
        "  config: {AIRFLOW__CORE__PARALLELISM: '64', AIRFLOW__WEBSERVER__X: 'y'}\n"
        "  extraEnv: [{name: TEAM, value: shop}]\n  extraPipPackages: ['pandas~=2.0']\n"
        "  variables: [{key: a, value: b}]\n"
        "dags: {gitSync: {enabled: true, repoSubPath: flows}}\n"
    )
    make(tmp_path, {"values.yaml": text, "flows/a.py": ""})
    done = complete(tmp_path, Settings(), tmp_path / "values.yaml")
    assert values(done) == {
        "sync.dags": "flows",
        "airflow.version": "2.8.4",
        "environment.TEAM": "shop",
        "environment.AIRFLOW__CORE__PARALLELISM": "64",
    }
    assert [one.packages for one in done.not_taken if one.packages] == [("pandas~=2.0",)]


def test_mwaa(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "startup.sh": "#!/bin/sh\nset -e\nexport STAGE=dev\nexport TEAM='data platform' # ours\n"
            "export ROOT=$(pwd)\nsudo yum install -y libaio\n",
            "requirements.txt": "--constraint https://raw.example.com/constraints-2.10.3/constraints-3.11.txt\n",
            "plugins.zip": "",
            "dags/a.py": "",
        },
    )
    done = complete(tmp_path, Settings())
    assert values(done) == {
        "airflow.version": "2.10.3",
        "environment.STAGE": "dev",
        "environment.TEAM": "data platform",
    }
    assert left(done) == [
        ("startup.sh", "the variables ROOT", "set them in .env"),
        (
            "startup.sh",
            "`sudo yum install -y libaio`",
            "Python packages belong in requirements.txt, system packages in packages.txt",
        ),
        ("plugins.zip", "its modules", "unzip plugins.zip -d plugins"),
    ]


def test_a_checkout_of_the_local_runner(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "mwaa-local-env": "#!/bin/bash\n",
            "VERSION": "2.8.1\n",
            "requirements/requirements.txt": "six\n",
            "docker/config/.env.localrunner": "TEAM=shop\n",
            "startup_script/startup.sh": '#!/bin/sh\n\necho "Running sample startup script."',
            "dags/a.py": "",
        },
    )
    done = complete(tmp_path, Settings())
    assert (values(done), left(done)) == (
        {
            "airflow.version": "2.8.1",
            "env_file": "docker/config/.env.localrunner",
            "requirements": "requirements/requirements.txt",
        },
        [],
    )


def test_composer_local_dev(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "composer/shop/config.json": '{"composer_image_version": "composer-2.9.7-airflow-2.9.3",'
            '"dags_path": "flows"}',
            "composer/shop/variables.env": "TEAM=shop\n",
            "composer/shop/requirements.txt": "pandas\n",
            "flows/a.py": "",
            "data/a.csv": "",
        },
    )
    assert values(complete(tmp_path, Settings())) == {
        "sync.dags": "flows",
        "airflow.version": "2.9.3",
        "env_file": "composer/shop/variables.env",
        "requirements": "composer/shop/requirements.txt",
    }


def test_astro(tmp_path: Path) -> None:
    empty = "airflow:\n  connections:\n    - conn_id:\n      conn_type:\n  pools:\n    - pool_name:\n"
    make(tmp_path, {"Dockerfile": "FROM quay.io/astronomer/astro-runtime:12.7.1\n", "airflow_settings.yaml": empty})
    done = complete(tmp_path, Settings())
    assert (left(done), done.settings.sync.python_path) == ([], (".",))
    make(tmp_path, {"airflow_settings.yaml": empty + "  variables:\n    - {variable_name: a, variable_value: b}\n"})
    assert left(complete(tmp_path, Settings())) == [
        ("airflow_settings.yaml", "1 variable", "devenv secrets import airflow_settings.yaml")
    ]


def test_exports_of_airflow(tmp_path: Path) -> None:
    make(tmp_path, {"airflow_variables_dev.json": "{}", "connections.json": "{}", "dags/variables.json": "{}"})
    assert left(complete(tmp_path, Settings())) == [
        (
            "airflow_variables_dev.json",
            "its variables",
            "devenv secrets import airflow_variables_dev.json --as variables",
        ),
        ("connections.json", "its connections", "devenv secrets import connections.json --as connections"),
    ]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"dags/a.py": "from shop.x import y\n", "src/shop/__init__.py": ""}, ("src",)),
        ({"dags/a.py": "from common.x import y\n", "common/x.py": ""}, ("common",)),
        ({"dags/a.py": "import names\n", "lib/names.py": "import deep\n", "other/deep.py": ""}, ("lib", "other")),
        ({"dags/a.py": "import common\n", "dags/common.py": "", "common/x.py": ""}, ()),
        ({"dags/a.py": "open('/opt/airflow/config/x.json')\n", "config/x.json": ""}, ("config",)),
        ({"dags/a.py": "p = Path(os.environ['AIRFLOW_HOME'], 'sql', 'x')\n", "sql/x.sql": ""}, ("sql",)),
        ({"dags/a.py": "open('data/x.csv')\n", "data/x.csv": ""}, ("data",)),
        ({"dags/a.py": "row['data']\n", "data/x.csv": ""}, ()),
        ({"dags/a.py": "", "data/x.csv": ""}, ()),
        ({"dags/a.py": "import tests.x\n", "tests/x.py": ""}, ()),
    ],
)
def test_folders_that_dag_files_use(tmp_path: Path, files: dict[str, str], found: tuple[str, ...]) -> None:
    make(tmp_path, files)
    assert complete(tmp_path, Settings()).settings.sync.folders == found


def test_a_link_out_of_the_repository_is_not_taken(tmp_path: Path) -> None:
    make(tmp_path, {"outside/x.py": "", "shop/dags/a.py": "import common\nimport mine\n", "shop/real/x.py": ""})
    for name in ("common", "plugins", "include"):
        (tmp_path / "shop" / name).symlink_to(tmp_path / "outside")
    (tmp_path / "shop/mine").symlink_to("real")
    make(tmp_path, {"shop/Dockerfile": "FROM apache/airflow:2.7.2\nCOPY common /opt/airflow/common\n"})
    assert complete(tmp_path / "shop", Settings()).settings.sync.folders == ("mine",)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)),
        "[" * 5000,
        "services: [1, 2]\n",
        "services: {a: 1, b: {image: 5, volumes: 7, environment: 9}}\n",
        "services: {airflow: {image: airflow, env_file: [{}], volumes: [{}, 1, ''], environment: [1, '=']}}\n",
        "&a [*a]\n",
        "\x00",
    ],
)
@pytest.mark.parametrize("name", ["docker-compose.yaml", "values.yaml", "airflow_settings.yaml", "Dockerfile"])
def test_what_cannot_be_read_says_nothing(tmp_path: Path, name: str, text: str) -> None:
    make(tmp_path, {name: text, "dags/a.py": ""})
    done = complete(tmp_path, Settings())
    assert (done.found, done.not_taken) == ((), ())


def test_init_writes_what_the_repository_says(devenv, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    make(
        folder,
        {"Dockerfile": "FROM apache/airflow:2.10.5\nENV TEAM=other\nRUN pip install pandas\n", "plugins/p.py": ""},
    )
    make(folder, {"flows/a.py": "", "chart/values.yaml": OFFICIAL.replace("pipelines/dags", "flows")})
    result = devenv("init", "--yes", "--from", "chart/values.yaml", cwd=folder)
    lines = result.stdout.splitlines()
    assert lines[:3] == ["made devenv.toml", "made .gitignore", "made requirements.txt"]
    assert "not taken over: chart/values.yaml: the variables PASSWORD" in lines
    assert (folder / "requirements.txt").read_text() == "# Dockerfile\npandas\n"
    text = (folder / "devenv.toml").read_text()
    assert 'version = "2.10.5"  # from chart/values.yaml' in text
    written = tomllib.loads(text)
    assert written["environment"] == {"TEAM": "shop"}
    assert (written["sync"]["dags"], written["airflow"]["config"]) == ("flows", {"core": {"parallelism": "64"}})
    settings = load(folder, Environment(variables={}, cwd=folder))
    assert (settings.airflow.version, settings.sync.folders) == ("2.10.5", ("plugins",))
    again = devenv("init", "--yes", cwd=folder)
    assert again.exit_code == 0
    assert (folder / "devenv.toml").read_text() == text


def test_init_from_a_file_that_says_nothing(devenv, tmp_path: Path) -> None:
    make(tmp_path / "shop", {"notes.yaml": "a: 1\n"})
    result = devenv("init", "--from", "notes.yaml", cwd=tmp_path / "shop")
    assert result.exit_code == 2
    assert "notes.yaml says nothing that devenv could take over" in result.stderr
    assert not (tmp_path / "shop" / "devenv.toml").exists()
