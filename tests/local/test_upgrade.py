"""`devenv upgrade` from 2.7.2 to 3.3.2, with both releases and with ruff."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import cache_folder
from .test_check import GOOD

pytestmark = [pytest.mark.local, pytest.mark.timeout(900)]

OLD = """\
from datetime import datetime
from airflow import DAG
from airflow.operators.bash import BashOperator

with DAG("old", schedule_interval="@daily", start_date=datetime(2024, 1, 1), catchup=False):
    BashOperator(task_id="only", bash_command="true")
"""


def upgrade(shop: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devenv", "--project", str(shop), "upgrade", *arguments],
        env={
            **{name: text for name, text in os.environ.items() if not name.startswith("DEVENV_")},
            "DEVENV_CACHE": str(cache_folder()),
            "DEVENV_DATA": str(shop.parent / "data"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture
def shop(project_folder: Path) -> Path:
    (project_folder / "devenv.toml").write_text(
        '[airflow]\nversion = "2.7.2"\n\n[airflow.config.core]\nmax_active_runs_per_dag = 4\ndag_concurrency = 8\n'
    )
    (project_folder / "dags" / "good.py").write_text(GOOD.format(name="good"))
    (project_folder / "dags" / "broken_anyway.py").write_text("import surely_not_installed\nfrom airflow import DAG\n")
    return project_folder


def test_only_what_another_release_breaks_is_listed(shop: Path) -> None:
    (shop / "devenv.toml").write_text('[airflow]\nversion = "2.7.2"\n')
    same = upgrade(shop, "--to", "2.7.2")
    assert (same.returncode, same.stdout) == (0, "Airflow 2.7.2 → 2.7.2: nothing breaks\n"), same.stderr
    (shop / "dags" / "old.py").write_text(OLD)
    found = upgrade(shop, "--to", "3.3.2", "--format", "json")
    assert found.returncode == 1, found.stderr
    verdicts = {verdict["file"]: verdict for verdict in json.loads(found.stdout)["verdicts"]}
    rules = {problem["rule"]: problem["line"] for problem in verdicts["dags/old.py"]["problems"]}
    assert {"AIR301": 5, "invalid-arguments": 5}.items() <= rules.items()
    assert "dags/broken_anyway.py" not in verdicts
    assert verdicts.get("dags/good.py", {"ok": True})["ok"]

    fixed = upgrade(shop, "--to", "3.3.2", "--fix")
    assert "ruff corrected 1 place" in fixed.stderr
    assert (fixed.returncode, fixed.stdout.splitlines()[-1]) == (0, "Airflow 2.7.2 → 3.3.2: nothing breaks")
    assert (shop / "dags" / "old.py").read_text() == OLD.replace("schedule_interval", "schedule")


def test_options_that_are_gone_there_are_listed_with_their_line(shop: Path) -> None:
    found = upgrade(shop, "--to", "3.3.2", "--format", "github")
    assert found.returncode == 1
    assert "dag_concurrency" in found.stdout
    assert "line=6" in found.stdout
