"""The pytest plugin: fixtures `dag_bag`, `dag`, `run_task` and `render`.

pytest finds it by its entry point wherever devenv is installed beside Airflow; `devenv pytest` brings it to the
project's own Airflow. Airflow is imported when a fixture is first used.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from typing import Any, Callable, Dict, Iterator

import pytest

from devenv.agent.testing.lab import Lab, TaskResult

_OPTION = "dag_folder"
_TOLD = "DEVENV_DAG_FOLDER"
_HOMES = pytest.StashKey["str"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The setting `dag_folder` of pytest's own configuration."""
    parser.addini(_OPTION, "the DAG folder, from the folder of pytest's configuration", default="dags")


def pytest_configure(config: pytest.Config) -> None:
    """Airflow, which tests may import before they ask for a fixture, finds a home of its own, without a database."""
    if "airflow" in sys.modules or os.environ.get("AIRFLOW_HOME") or importlib.util.find_spec("airflow") is None:
        return
    if not os.path.isdir(_dag_folder(config)):
        return
    home = tempfile.mkdtemp(prefix="devenv-airflow-home-")
    config.stash[_HOMES] = home
    os.environ["AIRFLOW_HOME"] = home
    os.environ.setdefault("AIRFLOW__CORE__DAGS_FOLDER", _dag_folder(config))
    os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes that home."""
    home = config.stash.get(_HOMES, "")
    if home:
        shutil.rmtree(home, ignore_errors=True)
        os.environ.pop("AIRFLOW_HOME", None)


def _dag_folder(config: pytest.Config) -> str:
    return os.environ.get(_TOLD) or os.path.join(str(config.rootpath), str(config.getini(_OPTION)))


@pytest.fixture(scope="session")
def devenv_lab(pytestconfig: pytest.Config) -> Iterator[Lab]:
    """What the other fixtures use."""
    folder = _dag_folder(pytestconfig)
    if not os.path.isdir(folder):
        pytest.fail(f"there is no folder {folder}: set {_OPTION} in pytest's configuration", pytrace=False)
    for path in (folder, os.path.join(os.path.dirname(folder), "plugins")):
        if os.path.isdir(path) and path not in sys.path:
            sys.path.append(path)
    try:
        import airflow  # noqa: F401
    except ModuleNotFoundError:
        pytest.fail("Airflow is not installed here: run `devenv pytest`, or install it beside pytest", pytrace=False)
    lab = Lab(folder)
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def dag_bag(devenv_lab: Lab) -> Any:
    """Airflow's DagBag of the DAG folder, parsed once: `dag_bag.import_errors`, `dag_bag.dags`."""
    return devenv_lab.bag


@pytest.fixture(scope="session")
def dag(devenv_lab: Lab) -> Callable[[str], Any]:
    """`dag("sales")`: the DAG of that id."""

    def find(dag_id: str) -> Any:
        try:
            return devenv_lab.dag(dag_id)
        except LookupError as error:
            return pytest.fail(str(error), pytrace=False)

    return find


@pytest.fixture
def run_task(devenv_lab: Lab) -> Callable[..., TaskResult]:
    """`run_task("sales", "load", xcoms={"extract": [1, 2]})`: runs one task; see `Lab.run`."""
    return devenv_lab.run


@pytest.fixture
def render(devenv_lab: Lab) -> Callable[..., Dict[str, Any]]:
    """`render("sales", "report", date="2026-01-31")`: a task's template fields as rendered; see `Lab.render`."""
    return devenv_lab.render
