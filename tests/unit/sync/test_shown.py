"""A DAG folder that is called otherwise goes by its own name wherever a person reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.environment import Environment
from devenv.events import FileSynced, Notice, VerdictReached
from devenv.project import Project
from devenv.settings.schema import Settings, SyncSettings
from devenv.sync.shown import Shown
from devenv.verdict import Problem, Verdict


def shown(tmp_path: Path, dags: str, *folders: str) -> Shown:
    for name in (dags, *folders):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    return Shown.of(Project(tmp_path, Settings(sync=SyncSettings(dags=dags, folders=folders)), Environment()))


@pytest.mark.parametrize(
    ("dags", "path"),
    [
        ("pipelines", "pipelines/a.py"),
        ("src/airflow/dags", "src/airflow/dags/a.py"),
        (".", "a.py"),
        ("dags", "dags/a.py"),
    ],
)
def test_paths_are_the_repositorys_own(tmp_path: Path, dags: str, path: str) -> None:
    names = shown(tmp_path, dags)
    assert names.path("dags/a.py") == path
    assert names.path("elsewhere/dags/a.py") == "elsewhere/dags/a.py"
    verdict = names.verdict(
        Verdict(
            "dags/a.py", problems=(Problem("x", "error", "also in dags/b.py, not in my/dags/b.py", file="dags/a.py"),)
        )
    )
    assert (verdict.file, verdict.problems[0].file) == (path, path)
    other = path.replace("a.py", "b.py")
    assert verdict.problems[0].message == f"also in {other}, not in my/dags/b.py"


def test_further_folders_and_events(tmp_path: Path) -> None:
    names = shown(tmp_path, "team/dags", "team/plugins")
    event = names.event(FileSynced("plugins/x.py", "renamed", 1, 2.0, "plugins/w.py"))
    assert event == FileSynced("team/plugins/x.py", "renamed", 1, 2.0, "team/plugins/w.py")
    assert names.event(Notice("info", "see dags/x.py")) == Notice("info", "see team/dags/x.py")
    assert names.event(VerdictReached(Verdict("dags/x.py"), 1.0)) == VerdictReached(Verdict("team/dags/x.py"), 1.0)
    assert shown(tmp_path, "dags").folders == {}
