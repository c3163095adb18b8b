"""`devenv check` with a real Airflow: what it prints, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from devenv.environment import Environment
from tests.conftest import Devenv
from tests.support.program import Program

from .conftest import cache_folder

pytestmark = [pytest.mark.local, pytest.mark.timeout(900)]

CHECKOUT = Path(__file__).parents[2]
GOOD = """
from datetime import datetime
try:
    from airflow.sdk import DAG
    from airflow.providers.standard.operators.empty import EmptyOperator
except ImportError:
    from airflow import DAG
    from airflow.operators.empty import EmptyOperator

with DAG("{name}", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="only")
"""


@pytest.fixture(scope="module", params=["2.7.2", "3.3.2"])
def python(request: pytest.FixtureRequest) -> Path:
    from devenv.local.virtualenv import Installer

    environment = Environment(variables={**Environment().variables, "DEVENV_CACHE": str(cache_folder())})
    return Installer(environment).airflow(request.param, Path("requirements.txt"), print)


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
    (project_folder / "dags/made.py").write_text("from factory import make\n\nmake('one')\nmake()\n")
    assert devenv(*arguments).exit_code == 0
    unsafe = devenv(*arguments, "--no-safe-mode", "--format", "sarif")
    assert unsafe.exit_code == 1
    (result,) = json.loads(unsafe.stdout)["runs"][0]["results"]
    assert (result["level"], "make()" in result["message"]["text"]) == ("error", True)


def test_the_hook_of_pre_commit(project_folder: Path, python: Path, tmp_path: Path) -> None:
    """Its entry, as pre-commit calls it: from the repository's top, by the words of the manifest."""
    (hook,) = yaml.safe_load((CHECKOUT / ".pre-commit-hooks.yaml").read_text())
    assert not hook["pass_filenames"]
    program = [sys.executable, "-m", *hook["entry"].split(), "--python", str(python)]
    variables = {"PATH": "/nonexistent", "HOME": str(tmp_path), "TERM": "dumb"}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            program, cwd=project_folder, env=variables, capture_output=True, text=True, check=False, timeout=240
        )

    (project_folder / "dags/good.py").write_text(GOOD.format(name="good"))
    assert run().returncode == 0
    (project_folder / "dags/good.py").write_text(GOOD.format(name="good").replace("EmptyOperator(", "EmptyOperato("))
    failed = run()
    assert failed.returncode == 1
    assert "Did you mean EmptyOperator?" in failed.stdout


def test_the_release_that_is_asked_for_judges(python: Path, tmp_path: Path) -> None:
    """Never the Airflow of the shell's own environment, where that is another release."""
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags/old.py").write_text("from airflow.utils.dates import days_ago\n" + GOOD.format(name="old"))
    variables = {"VIRTUAL_ENV": str(python.parents[1]), "DEVENV_CACHE": str(cache_folder())}
    program = Program((sys.executable, "-m", "devenv"), tmp_path, variables)
    assert "1 file, 1 DAG, 0 broken" in program.run("check", "--airflow", "2.7.2")
    assert "import-error" in program.run("check", "--airflow", "3.3.2", "--format", "github", code=1)
