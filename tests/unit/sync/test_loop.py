from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from devenv.events import (
    BatchSynced,
    ConnectionChanged,
    FileSkipped,
    FileSynced,
    Notice,
    PickedUp,
    VerdictCleared,
    VerdictReached,
    WatchStarted,
)
from devenv.project import Project
from devenv.sync.guard import DeletesHeld, leave_word
from devenv.sync.loop import SyncLoop
from devenv.sync.mirror import Mirror
from devenv.sync.model import Ack, Capabilities, JobIsWriting, SchedulerReport, TargetLost
from devenv.sync.plan import TargetCannot
from devenv.sync.roots import DagFolderMissing
from devenv.sync.targets.agent import ClaimInUse
from devenv.sync.targets.folder import FolderTarget
from devenv.verdict import Problem, Verdict
from tests.support.sync import OWNER, Events, RecordingTarget, ScriptedWatcher, Watching, project_at, tree


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devenv.sync.loop.RESCAN_SECONDS", 0.3)
    monkeypatch.setattr("devenv.sync.loop._BACK_OFF", (0.01,))


DAG = "from airflow import DAG  # a dag\n"
BROKEN = Problem("import-error", "error", "No module named 'x'", type="ModuleNotFoundError")


def once(project, target, **options) -> tuple:
    events = Events()
    loop = SyncLoop(project, target.opened, events, **options)
    return loop.once(), events


def test_once_sends_what_differs_and_then_nothing(tmp_path: Path) -> None:
    project, target = project_at(tmp_path), RecordingTarget()
    (tmp_path / "dags" / "team").mkdir()
    (tmp_path / "dags" / "team" / "helper.py").write_text("x = 1")
    (tmp_path / "dags" / "a_dag.py").write_text(DAG)
    result, events = once(project, target)
    assert result.in_step
    assert result.files == 2
    assert target.order == ["dags/team", "dags/team/helper.py", "dags/a_dag.py"]
    assert [(e.path, e.change) for e in events.of(FileSynced)] == [
        ("dags/a_dag.py", "added"),
        ("dags/team/helper.py", "added"),
    ]
    again, _ = once(project, target)
    assert again.in_step
    assert not again.changes
    assert len(target.batches) == 1
    assert target.closed == 2


def test_a_rehearsal_changes_nothing(tmp_path: Path) -> None:
    project, target, events = project_at(tmp_path), RecordingTarget(), Events()
    (tmp_path / "dags" / "a.py").write_text("x")
    result = SyncLoop(project, target.opened, events).once(rehearse=True)
    assert [change.path for change in result.changes] == ["dags/a.py"]
    assert not result.in_step
    assert not target.batches


def test_once_asks_before_it_empties_the_volume(tmp_path: Path) -> None:
    project, target = project_at(tmp_path), RecordingTarget()
    target.held = {"dags/a.py": b"a", "dags/b.py": b"b"}
    with pytest.raises(DeletesHeld):
        once(project, target)
    with pytest.raises(DeletesHeld):
        once(project, target, confirm_deletes=lambda question: False)
    assert set(target.held) == {"dags/a.py", "dags/b.py"}
    result, _ = once(project, target, confirm_deletes=lambda question: True)
    assert result.in_step
    assert not target.held


def test_held_deletes_hold_up_nothing_else(tmp_path: Path) -> None:
    project, target = project_at(tmp_path), RecordingTarget()
    target.held = {f"dags/{number}.py": b"a" for number in range(8)}
    (tmp_path / "dags" / "0.py").write_text("edited")
    (tmp_path / "dags" / "new.py").write_text("new")
    with pytest.raises(DeletesHeld, match="7 of 8 files would be deleted, more than half"):
        once(project, target)
    assert target.held["dags/0.py"] == b"edited"
    assert target.held["dags/new.py"] == b"new"
    assert len(target.held) == 9


def test_what_the_target_cannot_hold_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    project, target = project_at(tmp_path), RecordingTarget(Capabilities(max_total_bytes=10))
    (tmp_path / "dags" / "big.csv").write_text("x" * 11)
    with pytest.raises(TargetCannot):
        once(project, target)
    assert not target.batches


def test_a_target_that_is_nearly_full_is_told_of_in_time_and_once(tmp_path: Path) -> None:
    project, target = project_at(tmp_path), RecordingTarget(Capabilities(max_total_bytes=1_000))
    dags = tmp_path / "dags"
    (dags / "a.py").write_bytes(b"x" * 700)
    with Watching(project, target.opened) as watch:
        watch.events.wait(WatchStarted)
        for count, size in enumerate((810, 820, 830), 2):
            (dags / "a.py").write_bytes(b"x" * size)
            watch.watcher.notice(dags / "a.py")
            watch.events.wait(FileSynced, count)
    assert [notice.message for notice in watch.events.of(Notice)] == ["recording is 81% full: 810 bytes of 1000 bytes"]


def test_no_dag_folder(tmp_path: Path) -> None:
    project = project_at(tmp_path)
    (tmp_path / "dags").rmdir()
    with pytest.raises(DagFolderMissing):
        once(project, RecordingTarget())


def test_a_file_that_changes_while_it_is_sent_is_sent_again(tmp_path: Path) -> None:
    class Editing(RecordingTarget):
        def apply(self, batch):
            if not self.batches:
                (tmp_path / "dags" / "a.py").write_text("second")
            return super().apply(batch)

    project, target = project_at(tmp_path), Editing()
    (tmp_path / "dags" / "a.py").write_text("first")
    result, _ = once(project, target)
    assert result.in_step
    assert not result.failed
    assert target.held["dags/a.py"] == b"second"


def test_what_the_target_refuses_is_told_and_is_no_success(tmp_path: Path) -> None:
    project, target = project_at(tmp_path), RecordingTarget()
    (tmp_path / "dags" / "a.py").write_text("a")
    (tmp_path / "dags" / "b.py").write_text("b")
    target.refuse["dags/a.py"] = Ack("", ok=False, error="no space left on the node's disk", reason="space")
    result, events = once(project, target)
    assert not result.in_step
    assert result.failed == {"dags/a.py": "no space left on the node's disk"}
    assert target.held["dags/b.py"] == b"b"
    assert [n.message for n in events.of(Notice)] == ["dags/a.py was not written: no space left on the node's disk"]


def test_watch_save_rename_delete_and_a_burst(tmp_path: Path) -> None:
    project, target, dags = project_at(tmp_path), RecordingTarget(), tmp_path / "dags"
    (dags / "a.py").write_text("a")
    with Watching(project, target.opened) as watch:
        started = watch.events.wait(WatchStarted)[0]
        assert (started.files, started.target, started.watcher) == (1, "recording", "scripted")
        (dags / "a.py").write_text("edited")
        watch.watcher.notice(dags / "a.py")
        saved = watch.events.wait(FileSynced, 2)[1]
        assert (saved.path, saved.change, saved.size) == ("dags/a.py", "changed", 6)
        (dags / "a.py").rename(dags / "b.py")
        watch.watcher.notice(dags / "a.py", dags / "b.py")
        renamed = watch.events.wait(FileSynced, 3)[2]
        assert (renamed.path, renamed.change, renamed.previous) == ("dags/b.py", "renamed", "dags/a.py")
        (dags / "keep.py").write_text("k")
        watch.watcher.notice(dags / "keep.py")
        watch.events.wait(FileSynced, 4)
        (dags / "b.py").unlink()
        watch.watcher.notice(dags / "b.py")
        assert watch.events.wait(FileSynced, 5)[4].change == "deleted"
        for number in range(30):
            (dags / f"{number}.py").write_text("x")
        watch.watcher.notice()
        burst = watch.events.wait(BatchSynced)[0]
        assert (burst.added, burst.size) == (30, 30)
        assert len(watch.events.of(FileSynced)) == 5


def test_a_file_moved_away_and_written_anew_is_never_deleted(tmp_path: Path) -> None:
    """As vim saves with `backupcopy=no`, and git checks out."""
    project, target, dags = project_at(tmp_path), RecordingTarget(), tmp_path / "dags"
    (dags / "a.py").write_text("a")
    with Watching(project, target.opened) as watch:
        watch.events.wait(WatchStarted)
        (dags / "a.py").rename(dags / "a.py~")
        watch.watcher.notice(dags / "a.py")
        (dags / "b.py").write_text("b")  # something else, that the loop shows to have looked by
        (dags / "a.py").write_text("second")
        watch.watcher.notice(dags / "a.py", dags / "b.py")
        watch.events.wait(FileSynced, 3)
    assert not any(batch.deletes for batch in target.batches)
    assert target.held["dags/a.py"] == b"second"


def test_a_lost_session_is_made_again_and_everything_compared(tmp_path: Path) -> None:
    project, target, dags = project_at(tmp_path), RecordingTarget(), tmp_path / "dags"
    for number in range(10):
        (dags / f"{number}.py").write_text("x")
    refusals = [TargetLost("not yet")]

    def opened(listener):
        if target.closed and refusals:
            raise refusals.pop()
        return target.opened(listener)

    target.lose_after = 4
    with Watching(project, opened) as watch:
        watch.events.wait(WatchStarted)
        assert len(target.held) == 10
        (dags / "3.py").write_text("while away")
        target.listener.lost("the laptop slept")
        watch.events.wait(ConnectionChanged, 5)
        watch.events.wait(FileSynced)
    states = [(e.state, e.reason) for e in watch.events.of(ConnectionChanged)]
    assert states[:2] == [("lost", "the pod was killed"), ("reconnecting", "the pod was killed")]
    assert states[2:] == [("lost", "the laptop slept"), ("reconnecting", "the laptop slept"), ("connected", "")]
    assert target.held["dags/3.py"] == b"while away"


def test_a_watch_that_is_up_waits_for_the_job_and_gives_way_to_another_owner(tmp_path: Path) -> None:
    project, target = project_at(tmp_path), RecordingTarget()
    (tmp_path / "dags" / "a.py").write_text("a")
    refusals: list[Exception] = [JobIsWriting("the Job is writing"), JobIsWriting("the Job is writing")]

    def opened(listener):
        if target.closed and refusals:
            raise refusals.pop()
        return target.opened(listener)

    with Watching(project, opened) as watch:
        watch.events.wait(WatchStarted)
        target.listener.lost("the pod was killed")
        watch.events.wait(ConnectionChanged, 3)
        assert not refusals
        refusals.append(ClaimInUse("another laptop"))
        target.listener.lost("the laptop slept")
        assert watch.ended.wait(20)
        assert isinstance(watch.error, ClaimInUse)
        watch.error = None
    states = [event.state for event in watch.events.of(ConnectionChanged)]
    assert states[:3] == ["lost", "reconnecting", "connected"]


def test_verdicts_carry_the_time_since_the_save_and_go_with_their_file(tmp_path: Path) -> None:
    project, target, dags = project_at(tmp_path), RecordingTarget(), tmp_path / "dags"
    (dags / "a.py").write_text(DAG)
    (dags / "b.py").write_text("x")
    with Watching(project, target.opened) as watch:
        watch.events.wait(WatchStarted)
        target.listener.verdict(Verdict("dags/a.py", ("one",), (BROKEN,)))
        reached = watch.events.wait(VerdictReached)[0]
        assert reached.milliseconds > 0
        assert set(watch.loop.broken) == {"dags/a.py"}
        (dags / "a.py").unlink()
        watch.watcher.notice(dags / "a.py")
        assert watch.events.wait(VerdictCleared)[0] == VerdictCleared("dags/a.py", ("one",))
        assert not watch.loop.broken


def test_a_known_verdict_is_not_told_again(tmp_path: Path) -> None:
    project, target = project_at(tmp_path), RecordingTarget()
    with Watching(project, target.opened) as watch:
        watch.events.wait(WatchStarted)
        for milliseconds in (1.0, 2.0):
            target.listener.verdict(Verdict("dags/other.py", ("one",), milliseconds=milliseconds))
        target.listener.verdict(Verdict("dags/other.py", ("one", "two")))
        told = watch.events.wait(VerdictReached, 2)
    assert [(e.verdict.dag_ids, e.milliseconds) for e in told] == [(("one",), 0.0), (("one", "two"), 0.0)]


def test_the_scheduler_confirms_by_its_own_clock(tmp_path: Path) -> None:
    class Hour(RecordingTarget):
        def clock(self) -> float:
            return super().clock() + 3600

        def scheduler(self) -> SchedulerReport:
            now = self.clock()
            return SchedulerReport(parsed=dict.fromkeys(self.held, now), at=now)

    project, target = project_at(tmp_path), Hour(Capabilities(scheduler=True))
    (tmp_path / "dags" / "a.py").write_text(DAG)
    with Watching(project, target.opened) as watch:
        assert watch.events.wait(PickedUp)[0].path == "dags/a.py"


def test_deletes_are_held_asked_about_and_then_done(tmp_path: Path) -> None:
    project, target, dags = project_at(tmp_path), RecordingTarget(), tmp_path / "dags"
    for number in range(3):
        (dags / f"{number}.py").write_text("x")
    answer, asked = threading.Event(), []

    def confirm(question: str) -> bool:
        asked.append(question)
        return answer.wait(20)

    with Watching(project, target.opened, confirm=confirm) as watch:
        watch.events.wait(WatchStarted)
        shutil.rmtree(dags)
        watch.watcher.notice(dags)
        assert watch.events.wait(Notice)[0].message == f"The folder {dags} is gone; nothing was deleted"
        assert len(target.held) == 3
        answer.set()
        watch.events.wait(FileSynced, 6)
    assert not target.held
    assert asked == [f"The folder {dags} is gone. Delete 3 files from the DAG volume?"]


def test_a_word_left_by_another_command_lets_deletes_through(tmp_path: Path) -> None:
    project, target, dags = project_at(tmp_path), RecordingTarget(), tmp_path / "dags"
    for number in range(3):
        (dags / f"{number}.py").write_text("x")
    project.make_state_folder()
    with Watching(project, target.opened) as watch:
        watch.events.wait(WatchStarted)
        for number in range(3):
            (dags / f"{number}.py").unlink()
        watch.watcher.notice(dags)
        watch.events.wait(Notice)
        leave_word(project.state_folder)
        watch.events.wait(FileSynced, 6)
    assert not target.held


def _mirrored(project: Project, target: RecordingTarget) -> tuple[SyncLoop, Mirror]:
    loop = SyncLoop(project, target.opened, Events())
    return loop, Mirror(target, loop._scanner, loop._deletes.guard)


def test_while_git_is_at_work_no_look_sends_half_a_checkout(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    project, target = project_at(tmp_path), RecordingTarget()
    (tmp_path / "dags" / "dag.py").write_text("of the branch")
    loop, mirror = _mirrored(project, target)
    lock = tmp_path / ".git" / "index.lock"
    lock.touch()
    loop._look(mirror, None, 0.0)
    assert not target.batches
    assert loop._due.look  # soon again
    lock.unlink()
    loop._look(mirror, None, 0.0)
    assert target.held == {"dags/dag.py": b"of the branch"}


def test_a_checkout_that_begins_during_a_look_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    project, target = project_at(tmp_path), RecordingTarget()
    (tmp_path / "dags" / "dag.py").write_text("of one branch")
    loop, mirror = _mirrored(project, target)
    lock, original = tmp_path / ".git" / "index.lock", loop._scanner.scan

    def scan(hints: object = None) -> object:
        found = original(hints)
        lock.touch()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(loop._scanner, "scan", scan)
        loop._look(mirror, None, 0.0)
    assert not target.batches
    assert loop._due.look
    (tmp_path / "dags" / "dag.py").write_text("of the other")
    lock.unlink()
    loop._due.rest_until = 0.0
    loop._look(mirror, None, 0.0)
    assert target.held == {"dags/dag.py": b"of the other"}


def test_a_folder_that_cannot_be_held_is_not_looked_at_without_a_pause(tmp_path: Path) -> None:
    project, target = project_at(tmp_path), RecordingTarget(Capabilities(max_total_bytes=1))
    (tmp_path / "dags" / "dag.py").write_text("too large")
    loop, mirror = _mirrored(project, target)
    loop._due.look = 1.0  # some file was being written just now
    loop._look(mirror, None, 0.0)
    assert not loop._due.look
    assert not target.batches


def test_skipped_files_are_told_once(tmp_path: Path) -> None:
    project, target, dags = project_at(tmp_path), RecordingTarget(), tmp_path / "dags"
    (dags / "out").symlink_to("/etc/hostname")
    with Watching(project, target.opened) as watch:
        watch.events.wait(WatchStarted)
        for number in range(3):
            (dags / f"{number}.py").write_text("x")
            watch.watcher.notice(dags / f"{number}.py")
            watch.events.wait(FileSynced, number + 1)
    assert watch.events.of(FileSkipped) == [FileSkipped("dags/out", "a link that leaves the synced folder")]


def test_a_watcher_that_fails_is_replaced_by_regular_looks(tmp_path: Path) -> None:
    class Failing(ScriptedWatcher):
        def hints(self, timeout: float):
            raise OSError("no more watches")

    project, target = project_at(tmp_path), RecordingTarget()
    with Watching(project, target.opened, Failing()) as watch:
        assert "no more watches" in watch.events.wait(Notice)[0].message
        watch.events.wait(WatchStarted)
        (tmp_path / "dags" / "a.py").write_text("x")
        watch.events.wait(FileSynced)


def test_into_a_real_folder(tmp_path: Path) -> None:
    project, volume = project_at(tmp_path / "project"), tmp_path / "volume"
    dags = project.dag_folder
    volume.mkdir()
    (dags / "a").mkdir()
    (dags / "a" / "b.py").write_text("x")

    def opened(_listener) -> FolderTarget:
        return FolderTarget(volume, ["dags"], OWNER)

    with Watching(project, opened) as watch:
        watch.events.wait(WatchStarted)
        shutil.rmtree(dags / "a")
        (dags / "a").write_text("now a file")
        watch.watcher.notice(dags / "a")
        watch.events.wait(FileSynced, 3)
        assert tree(volume) == tree(project.folder)
