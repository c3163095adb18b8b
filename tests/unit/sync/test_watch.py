from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from devenv.events import Notice
from devenv.sync import watch
from devenv.sync.ignore import Ignore
from devenv.sync.model import Hint, Root
from devenv.sync.watch import GitIndex, NativeWatcher, PollingWatcher, open_watcher
from tests.support.sync import Events


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    folder = tmp_path / "dags"
    folder.mkdir()
    return folder


@pytest.fixture
def watcher(dags: Path):
    made = NativeWatcher([Root("dags", dags)], Ignore())
    yield made
    made.close()


def hint_about(watcher, path: Path | None, timeout: float = 10.0) -> Hint:
    """The first hint that names the path (None: everything)."""
    deadline = time.monotonic() + timeout
    seen = []
    while time.monotonic() < deadline:
        for hint in watcher.hints(0.2):
            if hint.paths is None or (path is not None and path in hint.paths):
                return hint
            seen.append(hint)
    raise AssertionError(f"no hint about {path}: {seen}")


def test_a_save_a_rename_over_and_a_delete(watcher, dags: Path) -> None:
    file = dags / "dag.py"
    before = time.monotonic()
    file.write_text("1")
    assert before <= hint_about(watcher, file).at <= time.monotonic()
    (dags / "dag.py.new").write_text("2")
    (dags / "dag.py.new").rename(file)
    assert hint_about(watcher, file).paths is not None
    file.unlink()
    assert hint_about(watcher, file).paths is not None


def test_the_executable_bit(watcher, dags: Path) -> None:
    file = dags / "run.sh"
    file.write_text("1")
    hint_about(watcher, file)
    file.chmod(0o755)
    hint_about(watcher, file)


@pytest.mark.xfail(sys.version_info < (3, 11), reason="watchdog 6 loses them, until the next full look", strict=False)
def test_edits_in_a_folder_that_was_moved_in(watcher, dags: Path, tmp_path: Path) -> None:
    (tmp_path / "team" / "deep").mkdir(parents=True)
    (tmp_path / "team" / "deep" / "a.py").write_text("1")
    (tmp_path / "team").rename(dags / "team")
    hint_about(watcher, dags / "team")
    (dags / "team" / "deep" / "a.py").write_text("2")
    hint_about(watcher, dags / "team" / "deep" / "a.py")


def test_a_file_moved_out_does_not_hold_back_what_follows(watcher, dags: Path, tmp_path: Path) -> None:
    (dags / "old.py").write_text("1")
    hint_about(watcher, dags / "old.py")
    (dags / "old.py").rename(tmp_path / "old.py")
    (dags / "new.py").write_text("2")
    hint_about(watcher, dags / "new.py")


def test_editors_and_caches_cause_no_hint(watcher, dags: Path) -> None:
    (dags / "__pycache__").mkdir()
    (dags / "__pycache__" / "dag.cpython-311.pyc").write_text("x")
    (dags / ".dag.py.swp").write_text("x")
    (dags / "4913").touch()
    (dags / "dag.py").write_text("x")
    assert hint_about(watcher, dags / "dag.py").paths == {dags / "dag.py"}


def test_a_folder_that_was_replaced_is_watched_anew(watcher, dags: Path) -> None:
    dags.rename(dags.with_name("old"))
    dags.mkdir()
    hint_about(watcher, None)
    (dags / "dag.py").write_text("1")
    hint_about(watcher, dags / "dag.py")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify")
def test_a_link_that_is_pointed_elsewhere_is_followed_at_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / "checkouts" / name / "dags").mkdir(parents=True)
    link = tmp_path / "current"
    link.symlink_to("checkouts/one")
    made = NativeWatcher([Root("dags", link / "dags")], Ignore())
    try:
        (tmp_path / "next").symlink_to("checkouts/two")
        list(made.hints(1.0))
        swapped = time.monotonic()
        (tmp_path / "next").rename(link)  # as git-sync does
        hint = hint_about(made, None)
        assert hint.at >= swapped  # not the time of a look that found it later
        file = tmp_path / "checkouts/two/dags/dag.py"
        file.write_text("1")
        assert hint_about(made, file).paths == {file}
    finally:
        made.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify")
def test_an_overflow_that_watchdog_only_logs_is_a_reason_to_look_at_everything(watcher) -> None:
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed; filesystem events were lost")
    assert hint_about(watcher, None).paths is None


def test_an_exception_in_the_handler_neither_ends_it_nor_is_lost(watcher, dags: Path) -> None:
    class Strange:
        event_type = "modified"
        is_directory = False

        @property
        def src_path(self) -> str:
            raise ValueError("a name that nobody thought of")

    watcher._noticed("dags", dags, Strange())
    assert hint_about(watcher, None).paths is None
    (dags / "dag.py").write_text("1")
    hint_about(watcher, dags / "dag.py")


def test_a_burst_is_one_hint_and_constant_writes_do_not_starve_it() -> None:
    doubt = watch._Doubt()
    doubt.add([Path("first")], urgent=True)
    assert doubt.take(1).paths == {Path("first")}  # the leading edge, alone
    stop = threading.Event()

    def write() -> None:
        while not stop.wait(0.005):
            doubt.add([Path("busy")], urgent=True)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert doubt.take(1).paths == {Path("busy")}
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "sudo sysctl fs.inotify.max_user_watches=524288"),
        (errno.EMFILE, "sudo sysctl fs.inotify.max_user_instances=512"),
    ],
)
def test_at_the_system_s_limits_it_polls_and_says_so(dags: Path, monkeypatch, number: int, words: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, "limit reached")

    monkeypatch.setattr(watch, "NativeWatcher", fail)
    events = Events()
    made = open_watcher([Root("dags", dags)], Ignore(), events, poll_seconds=0.01)
    assert made.name == "polling"
    assert next(made.hints(1)).paths is None
    [notice] = events.of(Notice)
    assert "looking for changes every 0.01 s" in notice.message
    assert words in notice.hint


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="inotify")
def test_folders_that_the_kernel_does_not_watch_are_noticed(dags: Path, monkeypatch) -> None:
    (dags / "a" / "b").mkdir(parents=True)
    monkeypatch.setattr(watch, "_count_folders", lambda place: 1000)
    with pytest.raises(OSError, match="watch limit"):
        NativeWatcher([Root("dags", dags)], Ignore())


def test_where_the_file_system_tells_nothing_it_polls(dags: Path, monkeypatch) -> None:
    monkeypatch.setattr(watch, "file_system", lambda _folder: "9p")
    events = Events()
    assert isinstance(open_watcher([Root("dags", dags)], Ignore(), events), PollingWatcher)
    assert "is on 9p, which sends no file-change events" in events.of(Notice)[0].message
    native = open_watcher([Root("dags", dags)], Ignore(), events, kind="native")
    native.close()
    assert native.name != "polling"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mountinfo")
def test_the_file_system_of_a_folder() -> None:
    assert watch.file_system(Path("/proc/self")) == "proc"


@pytest.mark.parametrize("worktree", [False, True])
def test_git_at_work_is_waited_for(tmp_path: Path, worktree: bool) -> None:
    git = tmp_path / ("main/.git/worktrees/one" if worktree else ".git")
    git.mkdir(parents=True)
    if worktree:
        (tmp_path / ".git").write_text("gitdir: main/.git/worktrees/one\n")
    index = GitIndex(tmp_path)
    assert not index.wait(threading.Event())
    (git / "index.lock").touch()
    threading.Timer(0.5, (git / "index.lock").unlink).start()
    assert index.wait(threading.Event())
    assert not (git / "index.lock").exists()
    (git / "index.lock").touch()
    assert index.busy()
    os.utime(git / "index.lock", (1, 1))  # left by a git that was killed, or a commit whose message is being written
    assert not index.wait(threading.Event())
