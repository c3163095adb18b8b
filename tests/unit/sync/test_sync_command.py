from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from devenv.events import ConnectionChanged
from devenv.journal import Journal
from devenv.sync.guard import take_word
from devenv.sync.lock import WatchLock
from devenv.sync.model import TargetLost
from tests.support.sync import RecordingTarget


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> RecordingTarget:
    made = RecordingTarget()
    backend = SimpleNamespace(open_target=made.opened)
    monkeypatch.setattr("devenv.cli.sync.backend_from", lambda project: backend)
    return made


def test_once_and_then_nothing_to_do(devenv, project_folder, target) -> None:
    (project_folder / "dags" / "a.py").write_text("x")
    first = devenv("sync")
    assert (first.exit_code, first.stdout.splitlines()[-1]) == (0, "in step: 1 file, 1 change")
    assert devenv("sync").stdout.splitlines()[-1] == "in step: 1 file, 0 changes"
    assert target.held == {"dags/a.py": b"x"}


def test_check_answers_by_its_exit_code_and_changes_nothing(devenv, project_folder, target) -> None:
    (project_folder / "dags" / "a.py").write_text("x")
    assert devenv("sync", "--check").exit_code == 1
    rehearsal = devenv("sync", "--dry-run")
    assert rehearsal.exit_code == 0
    assert "dags/a.py" in rehearsal.stdout
    assert not target.batches
    devenv("sync")
    assert devenv("sync", "--check").exit_code == 0
    assert devenv("sync", "--check", "--dry-run").exit_code == 2


def test_as_json(devenv, project_folder, target) -> None:
    (project_folder / "dags" / "a.py").write_text("x")
    lines = [json.loads(line) for line in devenv("sync", "-o", "json").stdout.splitlines()]
    assert [line["type"] for line in lines] == ["devenv.file.synced", "devenv.sync.finished"]
    assert lines[1]["data"] == {"in_step": True, "files": 1, "changes": 1, "failed": {}}


def test_a_script_must_say_yes_before_the_volume_is_emptied(devenv, target) -> None:
    target.held = {"dags/a.py": b"a", "dags/b.py": b"b"}
    refused = devenv("sync")
    assert refused.exit_code == 5
    assert "is empty; nothing was deleted" in refused.stderr
    assert "devenv sync --yes" in refused.stderr
    assert devenv("sync", "--yes").exit_code == 0
    assert not target.held


def test_beside_a_watch(devenv, project_folder, target) -> None:
    state = devenv.state_folder()
    with WatchLock(state):
        done = devenv("sync")
        assert (done.exit_code, "brings each change to the volume at once" in done.stdout) == (0, True)
        journal = Journal(state, lambda: 1.0)
        journal.report(ConnectionChanged("lost", "the pod was killed"))
        lost = devenv("sync")
        assert (lost.exit_code, "has lost the DAG volume: the pod was killed" in lost.stderr) == (4, True)
        journal.report(ConnectionChanged("connected"))
        assert devenv("sync").exit_code == 0
        journal.close()
        refused = devenv("sync", "--check")
        assert refused.exit_code == 5
        assert "is already watched by process" in refused.stderr
        assert "Ctrl-C in its terminal" in refused.stderr
        assert devenv("sync", "--yes").exit_code == 0
        assert take_word(state)
    assert not target.batches


def test_a_session_that_breaks_is_an_error_of_the_platform(devenv, project_folder, target) -> None:
    (project_folder / "dags" / "a.py").write_text("x")
    target.lose_after = 0
    broken = devenv("sync")
    assert broken.exit_code == 4
    assert "the pod was killed" in broken.stderr
    assert TargetLost.__name__ not in broken.stderr


def test_a_volume_of_another_environment_is_taken_only_when_asked(devenv, project_folder, target) -> None:
    devenv("sync")
    assert not target.taken_over
    devenv("sync", "--take-over")
    assert target.taken_over
