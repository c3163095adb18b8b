from __future__ import annotations

import os
from pathlib import Path

import pytest

from devenv.sync.guard import DeletesHeld, Guard, leave_word, take_word
from devenv.sync.lock import AlreadyWatched, WatchLock, holder
from devenv.sync.model import Entry, Root
from devenv.sync.plan import changes

HERE = {"dags": (1, 1)}


def files(*names: str) -> dict[str, Entry]:
    return {f"dags/{name}": Entry(f"dags/{name}", "file", name, 1) for name in names}


def check(local: dict, remote: dict, now: dict, guard: Guard | None = None):
    guard = guard or Guard([Root("dags", Path("/project/dags"))])
    return guard.check(changes(local, remote), local, remote, now)


def many(count: int) -> dict[str, Entry]:
    return files(*(f"{number}.py" for number in range(count)))


@pytest.mark.parametrize(
    ("local", "remote", "now", "reason"),
    [
        (files(), files("a", "b"), HERE, "The folder /project/dags is empty"),
        (files(), files("a"), HERE, ""),
        (files(), files("a"), {}, "The folder /project/dags is gone"),
        (many(4), many(10), HERE, "6 of 10 files would be deleted, more than half"),
        (many(5), many(10), HERE, ""),
        (files("a"), files("a", "b", "c", "d"), HERE, ""),
        (files("new/a", "new/b"), files("a", "b"), HERE, "2 files replaced"),
    ],
)
def test_when_deletes_are_asked_about(local: dict, remote: dict, now: dict, reason: str) -> None:
    if reason == "2 files replaced":  # renamed: the same content elsewhere is no loss
        local = {p: Entry(p, "file", p.rpartition("/")[2], 1) for p in local}
        reason = ""
    held = check(local, remote, now)
    assert (held.reason if held else "") == reason


def test_another_folder_in_its_place_is_asked_about_until_it_is_trusted() -> None:
    guard = Guard([Root("dags", Path("/project/dags"))])
    guard.carried_out(HERE)
    fewer, all_of_it = files("a", "b"), files("a", "b", "c")
    replaced = check(fewer, all_of_it, {"dags": (1, 2)}, guard)
    assert replaced is not None
    assert replaced.reason == "The folder /project/dags was replaced by another one"
    unmounted = check(fewer, all_of_it, {"dags": (2, 2)}, guard)
    assert unmounted is not None
    assert "another file system than before" in unmounted.reason
    guard.carried_out({"dags": (1, 2)})
    assert check(fewer, all_of_it, {"dags": (1, 2)}, guard) is None


def test_deletes_in_pieces_are_counted_together() -> None:
    """3,000 files removed by `rm -r` were seen in batches each under half: 1,750 were gone before the guard held."""
    guard = Guard([Root("dags", Path("/project/dags"))])
    remote = many(3_000)
    moment = 0.0
    while remote:
        local = dict(list(remote.items())[400:])
        moment += 2.0
        held = guard.check(changes(local, remote), local, remote, HERE, moment)
        if held is not None:
            break
        guard.deleted(set(remote) - set(local), moment)
        guard.carried_out(HERE)
        remote = local
    assert len(remote) >= 1_500
    assert held is not None
    assert held.reason == "1600 of 3000 files would be deleted within a minute, more than half"
    guard.confirm(held.paths)
    assert guard.check(changes(local, remote), local, remote, HERE, moment) is None


def test_deletes_of_long_ago_and_files_that_came_back_do_not_count() -> None:
    guard = Guard([Root("dags", Path("/project/dags"))])
    for moment in (0.0, 100.0, 130.0):
        assert guard.check(changes(many(6), many(10)), many(6), many(10), HERE, moment) is None
        guard.deleted(set(many(10)) - set(many(6)), moment)
        guard.carried_out(HERE)
        assert guard.check([], many(10), many(6), HERE, moment + 1.0) is None  # a branch that was left and taken again


def test_a_yes_counts_for_these_files_only() -> None:
    guard = Guard([Root("dags", Path("/project/dags"))])
    held = check(many(4), many(10), HERE, guard)
    assert held is not None
    assert held.question == ("6 of 10 files would be deleted, more than half. Delete 6 files from the DAG volume?")
    guard.confirm(held.paths)
    assert check(many(4), many(10), HERE, guard) is None
    assert check(many(3), many(10), HERE, guard) is not None
    guard.carried_out(HERE)
    assert check(many(4), many(10), HERE, guard) is not None


def test_the_error_names_the_files_and_the_way_on() -> None:
    held = check(files(), files("a.py", "b.py"), HERE)
    assert held is not None
    error = held.error()
    assert isinstance(error, DeletesHeld)
    assert error.message == "The folder /project/dags is empty; nothing was deleted"
    assert "devenv sync --yes" in (error.hint or "")
    assert error.detail == "dags/a.py\ndags/b.py"


def test_a_word_left_elsewhere_counts_once(tmp_path: Path) -> None:
    assert not take_word(tmp_path)
    leave_word(tmp_path)
    assert take_word(tmp_path)
    assert not take_word(tmp_path)


def test_the_second_watch_names_the_first(tmp_path: Path) -> None:
    state = tmp_path / ".devenv"
    state.mkdir()
    assert holder(state) is None
    with WatchLock(state, now=lambda: 1000.0):
        with pytest.raises(AlreadyWatched) as refused:
            WatchLock(state, now=lambda: 1060.0)
        assert refused.value.message == f"{tmp_path} is already watched by process {os.getpid()}, for 60 s"
        assert holder(state).pid == os.getpid()
    assert holder(state) is None
    WatchLock(state).close()


def test_a_lock_whose_process_died_is_free(tmp_path: Path) -> None:
    (tmp_path / "watch.lock").write_text('{"pid": 999999, "since": 1.0}')
    with WatchLock(tmp_path):
        assert holder(tmp_path).pid == os.getpid()


def test_a_lock_that_says_nonsense_is_still_a_lock(tmp_path: Path) -> None:
    with WatchLock(tmp_path):
        (tmp_path / "watch.lock").write_text("[")
        with pytest.raises(AlreadyWatched, match="another process"):
            WatchLock(tmp_path)
