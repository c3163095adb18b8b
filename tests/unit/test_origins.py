"""What is taken from a repository: folders beside the DAGs, Airflow's release, variables, packages of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv import dag_environment, requirements
from devenv.environment import Environment
from devenv.origins.complete import complete
from devenv.origins.folders import python_path
from devenv.project import Project
from devenv.settings.schema import AirflowSettings, Settings, SyncSettings
from devenv.vault import seeds


def make(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def folders(folder: Path, settings: Settings | None = None) -> tuple[str, ...]:
    found: tuple[str, ...] = complete(folder, settings or Settings()).settings.sync.folders
    return found


def test_folders_beside_the_dags(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "dags/a.py": "from common.defaults import OWNER\nimport tests\n",
            "plugins/x.py": "",
            "include/__init__.py": "",
            "common/__init__.py": "",
            "unused/__init__.py": "",
            "tests/__init__.py": "",
        },
    )
    assert folders(tmp_path) == ("plugins", "include", "common")
    home = "/opt/airflow"
    assert python_path(tmp_path, SyncSettings(folders=("plugins", "include", "common")), home) == [
        "/opt/airflow/plugins",
        "/opt/airflow/include",
        "/opt/airflow",
    ]
    assert python_path(tmp_path, SyncSettings(folders=("plugins",)), home) == ["/opt/airflow/plugins"]
    assert folders(tmp_path, Settings(sync=SyncSettings(folders=()))) == ()
    assert folders(tmp_path, Settings(sync=SyncSettings(transport="configmap"))) == ()


def test_folders_beside_a_dag_folder_of_another_name(tmp_path: Path) -> None:
    make(tmp_path, {"airflow/pipelines/a.py": "", "airflow/plugins/x.py": "", "plugins/y.py": ""})
    assert folders(tmp_path, Settings(sync=SyncSettings(dags="airflow/pipelines"))) == ("airflow/plugins",)


@pytest.mark.parametrize(
    ("name", "text", "release"),
    [
        ("Dockerfile", "# x\nFROM apache/airflow:2.9.3-python3.11\n", "2.9.3"),
        ("Dockerfile", "FROM registry.example.com/apache/airflow:slim-2.10.5\n", "2.10.5"),
        ("Dockerfile", "FROM quay.io/astronomer/astro-runtime:12.7.1\n", "2.10.5"),
        ("Dockerfile", "FROM astrocrpublic.azurecr.io/runtime:3.0-4\n", "3.0.6"),
        ("Dockerfile", "FROM mcr.microsoft.com/dotnet/runtime:9.0\n", "2.7.2"),
        ("Dockerfile", "ARG V=2.9.1\nFROM --platform=linux/amd64 apache/airflow:${V}-python3.11 AS base\n", "2.9.1"),
        ("Dockerfile", 'FROM python:3.11\nRUN pip install "apache-airflow[celery]==2.8.2"\n', "2.8.2"),
        ("requirements.txt", "# apache-airflow==2.9.0\napache-airflow[celery] == 2.8.3\n", "2.8.3"),
        ("pyproject.toml", '[project]\ndependencies = ["pandas", "apache-airflow==2.8.4"]\n', "2.8.4"),
        ("pyproject.toml", '[tool.poetry.dependencies]\napache-airflow = {version = "2.8.4", extras = []}\n', "2.8.4"),
        ("pyproject.toml", '[project]\ndependencies = ["apache-airflow-providers-http==2.8.4"]\n', "2.7.2"),
        ("main.tf", 'image_version = "composer-2.9.7-airflow-2.9.3"\n', "2.9.3"),
        ("main.tf", 'image_version = "composer-3-airflow-2.10.5-build.7"\n', "2.10.5"),
        ("values.yaml", "airflowVersion: 2.10.5\n", "2.10.5"),
        (
            "values.yaml",
            "images: {airflow: {repository: apache/airflow, tag: 2.10.4-python3.12}}\nairflowVersion: 2.10.5\n",
            "2.10.4",
        ),
        ("my-values.yml", "airflow: {image: {repository: apache/airflow, tag: 2.8.4-python3.9}}\n", "2.8.4"),
        ("values.yaml", "image: {repository: nginx, tag: 2.8.4}\n", "2.7.2"),
        ("Dockerfile", "FROM python:3.11\n", "2.7.2"),
        (
            "docker-compose.yaml",
            "x-a: &a\n  image: ${NAME:-apache/airflow:3.1.8}\nservices:\n  scheduler:\n    <<: *a\n",
            "3.1.8",
        ),
        (
            "requirements.txt",
            '--constraint "https://raw.githubusercontent.com/apache/airflow/constraints-2.8.1/constraints-3.11.txt"\n',
            "2.8.1",
        ),
    ],
)
def test_the_release_of_an_image(tmp_path: Path, name: str, text: str, release: str) -> None:
    (tmp_path / name).write_text(text)
    assert complete(tmp_path, Settings()).settings.airflow.version == release
    given = Settings(airflow=AirflowSettings(version="2.11.2"))
    assert complete(tmp_path, given).settings.airflow.version == "2.11.2"


def test_two_sources_that_disagree_decide_nothing(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "docker-compose.yml": "services: {airflow: {image: 'apache/airflow:2.9.3'}}\n",
            "requirements.txt": "-c https://raw.example.com/constraints-2.8.1/constraints-3.11.txt\n",
        },
    )
    done = complete(tmp_path, Settings())
    assert done.found == ()
    assert [(one.what, one.hint) for one in done.not_taken] == [
        (
            "airflow.version: 2.9.3 by docker-compose.yml, 2.8.1 by requirements.txt",
            "set airflow.version in devenv.toml",
        )
    ]


def test_the_environment_of_dags(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "export TEAM_BUCKET='s3://team'  # ours\nAIRFLOW_VAR_REGION=eu\nAIRFLOW__CORE__EXECUTOR=CeleryExecutor\n"
        "AIRFLOW__CORE__DEFAULT_TIMEZONE=Europe/Paris\nPYTHONPATH=/x\nAIRFLOW_UID=50000\nREGION=eu\n"
    )
    project = Project(tmp_path, Settings(environment={"REGION": "us"}), Environment(variables={}, cwd=tmp_path))
    assert dag_environment.variables(project) == {
        "TEAM_BUCKET": "s3://team",
        "AIRFLOW_VAR_REGION": "eu",
        "AIRFLOW__CORE__DEFAULT_TIMEZONE": "Europe/Paris",
        "REGION": "us",
    }
    assert dag_environment.left_out(project) == ["AIRFLOW_UID", "AIRFLOW__CORE__EXECUTOR", "PYTHONPATH"]


def test_a_variable_that_names_a_secret_has_its_value(tmp_path: Path) -> None:
    settings = Settings(environment={"TOKEN": "vault:team/reader#TOKEN", "PLAIN": "vault:no key"})
    project = Project(tmp_path, settings, Environment(variables={"DEVENV_DATA": str(tmp_path / "data")}, cwd=tmp_path))
    with pytest.raises(dag_environment.NamedSecretMissing) as missing:
        dag_environment.variables(project)
    assert missing.value.hint == "devenv secrets set team/reader TOKEN"
    with seeds.locked(project):
        seeds.save(project, seeds.load_or_create(project).with_values("team/reader", {"TOKEN": "t"}))
    assert dag_environment.variables(project) == {"TOKEN": "t", "PLAIN": "vault:no key"}


def test_what_requirements_refer_to(tmp_path: Path) -> None:
    make(
        tmp_path,
        {
            "requirements.txt": "-r more/base.txt\n-c https://example.com/c.txt\n-e ./libs/a[x]\n"
            "./libs/b ; python_version > '3'\n"
            "pandas==2.0  # ./no\ngit+https://example.com/x.git\n",
            "more/base.txt": "-c limits.txt\n",
            "more/limits.txt": "numpy<2\n",
            "libs/a/pyproject.toml": "",
            "libs/a/a.py": "1",
            "libs/b/setup.py": "",
            "libs/b/b.py": "1",
        },
    )
    found = requirements.references(tmp_path / "requirements.txt")
    assert [path.relative_to(tmp_path).as_posix() for path in found.files] == [
        "requirements.txt",
        "more/base.txt",
        "more/limits.txt",
    ]
    assert [path.relative_to(tmp_path).as_posix() for path in found.packages] == ["libs/a", "libs/b"]
    before = found.digest()
    (tmp_path / "libs/a/a.py").write_text("2")  # a link: nothing to install again
    assert found.digest() == before
    (tmp_path / "libs/b/b.py").write_text("2")
    assert found.digest() != before
    (tmp_path / "requirements.txt").write_text("../elsewhere\n")
    with pytest.raises(requirements.RequirementOutside, match="does not exist"):
        requirements.references(tmp_path / "requirements.txt")


def test_an_image_holds_nothing_from_outside_the_project(tmp_path: Path) -> None:
    make(tmp_path, {"lib/setup.py": "", "project/requirements.txt": "-e ../lib\n"})
    found = requirements.references(tmp_path / "project/requirements.txt")
    with pytest.raises(requirements.RequirementOutside, match="does not lie in the project"):
        requirements.require_inside(found, tmp_path / "project")


@pytest.mark.parametrize(
    ("files", "dags", "source"),
    [
        ({"airflow/dags/a.py": ""}, "airflow/dags", "airflow/dags/ is the only folder called dags"),
        ({"a/dags/a.py": "", "b/dags/b.py": ""}, "dags", ""),
        ({"own/dags/a.py": "", "own/devenv.toml": ""}, "dags", ""),
        ({"tests/dags/a.py": "", "src/dags/b.py": ""}, "src/dags", "src/dags/ is the only folder called dags"),
        ({"etl.py": "from airflow import DAG\n"}, ".", "DAG files in the project's folder itself"),
        ({"setup.py": "from setuptools import setup\n"}, "dags", ""),
        (
            {
                "pipelines/a.py": "",
                "docker-compose.yaml": "services: {web: {volumes: [./pipelines:/opt/airflow/dags]}}\n",
            },
            "pipelines",
            "docker-compose.yaml",
        ),
        (
            {
                "jobs/a.py": "",
                "compose.yaml": "services: {web: {volumes: ['${AIRFLOW_PROJ_DIR:-.}/jobs:/opt/airflow/dags:ro']}}\n",
            },
            "jobs",
            "compose.yaml",
        ),
        (
            {
                "flows/a.py": "",
                "Dockerfile": "FROM apache/airflow:2.7.2\nCOPY --chown=airflow flows/ ${AIRFLOW_HOME}/dags/\n",
            },
            "flows",
            "Dockerfile",
        ),
        ({"docker-compose.yaml": "services: {web: {volumes: [./nowhere:/opt/airflow/dags]}}\n"}, "dags", ""),
        ({"docker-compose.yaml": "services: {web: {volumes: [../outside:/opt/airflow/dags]}}\n"}, "dags", ""),
    ],
)
def test_a_dag_folder_that_is_called_otherwise(tmp_path: Path, files: dict[str, str], dags: str, source: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = complete(tmp_path, Settings())
    assert done.settings.sync.dags == dags
    assert [one.source for one in done.found if one.path == ("sync", "dags")] == ([source] if source else [])


def test_packages_that_plugins_and_other_packages_import_belong_to_it_too(tmp_path: Path) -> None:
    files = {
        "dags/a.py": "import first\n",
        "plugins/operators.py": "from helpers.http import get\n",
        "first/__init__.py": "from second import x\n",
        "second/__init__.py": "",
        "helpers/__init__.py": "",
        "unused/__init__.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert complete(tmp_path, Settings()).settings.sync.folders == ("plugins", "first", "helpers", "second")


def test_lines_that_stand_in_the_way_are_left_out_for_uv(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    copy = tmp_path / "copy.txt"
    file.write_text("-c https://example.com/limits.txt\npandas\n")
    assert not requirements.is_hashed(file)
    assert requirements.for_uv(file, copy) == file
    line = "https://raw.githubusercontent.com/apache/airflow/constraints-2.8.1/constraints-3.11.txt"
    file.write_text(f'--constraint "{line}"\n-c limits.txt\n-r=more/base.txt\n-r https://example.com/x.txt\n./lib\n')
    assert requirements.for_uv(file, copy) == copy
    assert copy.read_text() == (
        f"\n-c {tmp_path}/limits.txt\n-r {tmp_path}/more/base.txt\n-r https://example.com/x.txt\n./lib\n"
    )
    file.write_text("--require-hashes\nsix==1.16.0 \\\n    --hash=sha256:1e61\n")
    assert requirements.is_hashed(file)
    assert requirements.for_uv(file, copy).read_text() == "\nsix==1.16.0 \\\n    --hash=sha256:1e61\n"
