"""`devenv check` with a real Airflow: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devenv.environment import Environment
from tests.conftest import Devenv

from .conftest import cache_folder

pytestmark = [pytest.mark.local, pytest.mark.timeout(900)]

GOOD = """
from datetime import datetime
from airflow import DAG
from airflow.operators.empty import EmptyOperator

with DAG("{name}", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
"""


@pytest.fixture(scope="module")
def python() -> Path:
    from devenv.backends.local.virtualenv import Installer

    environment = Environment(variables={**Environment().variables, "DEVENV_CACHE": str(cache_folder())})
    return Installer(environment).airflow("2.7.2", Path("requirements.txt"), print)


def test_well_broken_and_wrongly_asked(devenv: Devenv, project_folder: Path, python: Path) -> None:
    dags = project_folder / "dags"
    (dags / "good.py").write_text(GOOD.format(name="good"))
    well = devenv("check", "--python", str(python), "--format", "json")
    assert well.exit_code == 0
    assert json.loads(well.stdout)["verdicts"][0]["dag_ids"] == ["good"]
    assert devenv("check", "--python", str(python), "nowhere.py").exit_code == 2

    (dags / "helper.py").write_text("import surely_not_installed\n")
    (dags / "bad.py").write_text("import helper\n" + GOOD.format(name="good"))
    found = devenv("check", "--python", str(python), "--format", "github", "dags/helper.py")
    assert found.exit_code == 1
    assert found.stdout.startswith("::error file=dags/helper.py,title=missing-package,line=1,")
    assert "requirements.txt: surely-not-installed" in found.stdout
    assert "good.py" not in found.stdout


def test_safe_mode_and_strictness(devenv: Devenv, project_folder: Path, python: Path) -> None:
    (project_folder / "dags/factory.py").write_text(
        f"def make(name):\n    exec({GOOD!r}.format(name=name), globals())\n"
    )
    (project_folder / "dags/made.py").write_text("from factory import make\n\nmake('one')\n")
    arguments = ("check", "--python", str(python), "dags/made.py")
    skipped = devenv(*arguments, "--format", "json")
    assert skipped.exit_code == 0
    assert [problem["rule"] for problem in json.loads(skipped.stdout)["verdicts"][0]["problems"]] == ["no-dag-found"]
    assert devenv(*arguments, "--strict").exit_code == 1
