"""What the tests on a real minikube share: they are left out where there is none, and boot one profile at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.program import Program

HELLO = """\
from datetime import datetime

from airflow.decorators import dag, task


@dag(start_date=datetime(2024, 1, 1), schedule=None, catchup=False)
def hello():
    @task
    def say():
        print("hello from a task")

    say()


hello()
"""


@pytest.fixture(scope="session", autouse=True)
def _real_minikube() -> None:
    """Leaves the folder's tests out where minikube or Docker is missing."""
    for name in ("minikube", "kubectl", "docker"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not on PATH")
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0:
        pytest.skip("Docker's engine does not answer")


def delete_profile(profile: str) -> None:
    """Removes a profile with everything in it, if it exists."""
    subprocess.run(["minikube", "delete", "-p", profile], check=False, capture_output=True)


MakeProject = Callable[[str, str], Program]


@pytest.fixture(scope="module")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> MakeProject:
    """Makes a project folder with one DAG on a profile: `make_project("shop", "devenv-boot")`."""
    data = tmp_path_factory.mktemp("data")

    def make(name: str, profile: str) -> Program:
        folder = tmp_path_factory.mktemp(name)
        (folder / "dags").mkdir()
        (folder / "dags" / "hello.py").write_text(HELLO)
        memory = os.environ.get("DEVENV_TEST_MEMORY", "6g")
        (folder / "devenv.toml").write_text(f'[minikube]\nprofile = "{profile}"\nmemory = "{memory}"\n')
        return Program((sys.executable, "-m", "devenv"), folder, {"DEVENV_DATA": str(data)})

    return make


@pytest.fixture(scope="module")
def empty_profile() -> Iterator[str]:
    """The name of a profile that does not exist, and does not afterwards."""
    name = "devenv-boot"
    delete_profile(name)
    yield name
    delete_profile(name)


@pytest.fixture(scope="module")
def foreign_profile() -> Iterator[str]:
    """A profile that devenv did not make: minikube counts one whose configuration is damaged, too."""
    name = "devenv-foreign"
    folder = Path(os.environ.get("MINIKUBE_HOME") or Path.home() / ".minikube") / "profiles" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    yield name
    shutil.rmtree(folder, ignore_errors=True)
