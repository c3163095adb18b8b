"""What the tests on a real minikube share: they are left out where there is none, and boot one profile at a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.deployed import Deployed
from tests.support.program import Program
from tests.support.receiver import Receiver, receiver
from tests.support.seeds import canaries, write_seeds

CHECKOUT = Path(__file__).resolve().parents[2]
MAIN_PROFILE = os.environ.get("DEVENV_TEST_PROFILE", "devenv-main-job")
"""Another name lets two runs of these tests share a machine."""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what makes and removes a profile of its own, then the main job, whose profile all the others use."""
    order = {"test_any_cluster.py": 0, "test_airflow_3.py": 0, "test_boot.py": 1, "test_main_job.py": 2}
    here = Path(__file__).parent
    items.sort(key=lambda item: order.get(item.path.name, 3) if item.path.parent == here else 4)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`devenv` installed as a tool from a wheel, outside the checkout."""
    folder = tmp_path_factory.mktemp("tool")
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", CHECKOUT], check=True)
    (wheel,) = (folder / "dist").glob("*.whl")
    places = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin")}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    install = [*uv, "tool", "install", "--quiet", "--compile-bytecode", "--python", python, str(wheel)]
    subprocess.run(install, check=True, env={**os.environ, **places})
    return folder / "bin" / "devenv"


@pytest.fixture(scope="session")
def canary() -> dict[str, str]:
    """The secrets of the main job's environment, which nobody else may have."""
    return canaries()


@pytest.fixture(scope="session")
def slack() -> Iterator[Receiver]:
    """What gets alerts in place of Slack; pods reach it as `host.minikube.internal`."""
    with receiver("0.0.0.0") as found:
        yield found


@pytest.fixture(scope="session")
def main_job(
    installed: Path, slack: Receiver, canary: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Program]:
    """An environment booted from nothing, by the installed wheel, in somebody's DAG repository; removed at the end."""
    profile = MAIN_PROFILE
    folder = tmp_path_factory.mktemp("shop")
    shutil.copytree(CHECKOUT / "dags", folder / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    data = tmp_path_factory.mktemp("data")
    seeds = data / "own-seeds.toml"
    write_seeds(seeds, f"host.minikube.internal:{slack.port}", canary)
    (folder / "devenv.toml").write_text(
        f'[minikube]\nprofile = "{profile}"\nmemory = "6g"\ncpus = 2\n[vault]\nseeds = "{seeds}"\n'
    )
    program = Program((str(installed),), folder, {"DEVENV_DATA": str(data), "DEVENV_CACHE": str(data / "cache")})
    delete_profile(profile)
    try:
        program.run("up", "--detach", seconds=900)
        yield program
    finally:
        program.run("destroy", "--yes", code=None)
        delete_profile(profile)


@pytest.fixture(scope="session")
def deployed(main_job: Program) -> Deployed:
    """The main job's environment, looked at from beside it; a test that changes its parts changes them back."""
    return Deployed(main_job, MAIN_PROFILE)


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


@pytest.fixture
def foreign_profile(empty_profile: str) -> Iterator[str]:
    """A profile that devenv did not make: the configuration of the one it did, without its label."""
    name = "devenv-foreign"
    profiles = Path(os.environ.get("MINIKUBE_HOME") or Path.home() / ".minikube") / "profiles"
    config = json.loads((profiles / empty_profile / "config.json").read_text())
    config["Name"] = name
    config["KubernetesConfig"] |= {"ClusterName": name, "ExtraOptions": []}
    (profiles / name).mkdir()
    (profiles / name / "config.json").write_text(json.dumps(config))
    yield name
    shutil.rmtree(profiles / name)
