"""The journal of a watch, and what a page makes of it."""

from __future__ import annotations

import stat
from itertools import count
from pathlib import Path

from devenv.events import (
    BatchSynced,
    ConnectionChanged,
    FileSynced,
    Notice,
    PickedUp,
    VerdictCleared,
    VerdictReached,
    WatchStarted,
)
from devenv.journal import Journal, JournalReader, files_that_make, journal_file
from devenv.record import Record
from devenv.verdict import Problem, Verdict

STARTED = WatchStarted("dags", 2, "agent", "inotify", 0.1)
BROKEN = Verdict(
    "dags/a.py", problems=(Problem("name-error", "error", "no x", excerpt=("x",), line=1, excerpt_line=1),)
)


def journal(folder: Path, growth: int = 1 << 20) -> Journal:
    return Journal(folder, map(float, count(1)).__next__, growth)


def record(folder: Path) -> Record:
    made = Record()
    for line in JournalReader(journal_file(folder)).fresh()[1]:
        made.take(line)
    return made


def test_a_save_with_its_times_and_its_verdict(tmp_path: Path) -> None:
    written = journal(tmp_path)
    for event in (
        STARTED,
        FileSynced("dags/a.py", "changed", 10, 4.0),
        Notice("info", "not kept"),
        VerdictReached(BROKEN, 60.0),
        PickedUp("dags/a.py", 900.0),
        VerdictReached(Verdict("dags/a.py", problems=(Problem("other", "error", "no x"),), speaker="scheduler"), 910.0),
        FileSynced("dags/a.py", "changed", 10, 5.0),
        BatchSynced(20, 1, 0, 100, 30.0),
    ):
        written.report(event)
    assert stat.S_IMODE(journal_file(tmp_path).stat().st_mode) == 0o600
    known = record(tmp_path)
    first, second, batch = known.saves
    assert (first.volume, first.verdict, first.scheduler) == (4.0, 60.0, 900.0)
    assert (second.volume, second.verdict, second.scheduler) == (5.0, None, None)
    assert (batch.path, batch.volume) == ("21 files", 30.0)
    state = known.files()["dags/a.py"]
    assert state.verdict.problems == BROKEN.problems, "the agent's words have the lines of code"
    assert state.speakers == ("agent", "scheduler")
    written.report(VerdictReached(Verdict("dags/a.py", ("a",)), 50.0))
    assert record(tmp_path).files()["dags/a.py"].speakers == ("agent",), "the scheduler has not seen the repair yet"
    written.report(VerdictCleared("dags/a.py"))
    assert record(tmp_path).files() == {}


def test_it_stays_small_and_loses_no_verdict(tmp_path: Path) -> None:
    written = journal(tmp_path, growth=5_000)
    written.report(STARTED)
    written.report(VerdictReached(BROKEN, 0.0))
    reader = JournalReader(journal_file(tmp_path))
    assert reader.fresh()[0]
    for _ in range(3_000):
        written.report(FileSynced("dags/b.py", "changed", 10, 4.0))
    assert journal_file(tmp_path).stat().st_size < 1_000_000
    assert reader.fresh()[0], "the reader is told that the file is another one"
    known = record(tmp_path)
    assert list(known.files()) == ["dags/a.py"]
    assert known.watch["target"] == "agent"
    assert len(known.saves) == 200


def test_the_next_watch_keeps_the_times_and_tells_the_files_anew(tmp_path: Path) -> None:
    first = journal(tmp_path)
    for event in (STARTED, FileSynced("dags/a.py", "changed", 10, 4.0), VerdictReached(BROKEN, 60.0)):
        first.report(event)
    first.report(ConnectionChanged("lost", "gone"))
    assert record(tmp_path).connection["reason"] == "gone"
    first.close()
    first.report(STARTED)  # after its end nothing is written, and nothing is raised
    with journal_file(tmp_path).open("a") as stream:
        stream.write('{"at": 3, "type": "cut by a cra')
    second = journal(tmp_path)
    second.report(STARTED)
    known = record(tmp_path)
    assert [save.verdict for save in known.saves] == [60.0]
    assert known.files() == {}
    assert known.connection == {}


def test_a_reader_goes_on_where_it_was_and_survives_the_files_end(tmp_path: Path) -> None:
    reader = JournalReader(journal_file(tmp_path))
    assert reader.fresh() == (False, [])
    written = journal(tmp_path)
    written.report(STARTED)
    assert [line["type"] for line in reader.fresh()[1]] == ["devenv.watch.started"]
    assert reader.fresh() == (False, [])
    written.report(PickedUp("dags/a.py", 1.0))
    assert [line["type"] for line in reader.fresh()[1]] == ["devenv.scheduler.parsed"]
    journal_file(tmp_path).unlink()
    assert reader.fresh() == (True, [])


def test_which_files_make_a_dag_by_their_last_verdict(tmp_path: Path) -> None:
    written = journal(tmp_path)
    for event in (
        VerdictReached(Verdict("dags/made.py", dag_ids=("load_sales", "load_stock")), 1.0),
        VerdictReached(Verdict("dags/gone.py", dag_ids=("load_stock",)), 1.0),
        VerdictCleared("dags/gone.py", ("load_stock",)),
        VerdictReached(Verdict("dags/made.py", dag_ids=("load_stock",)), 1.0),
        VerdictReached(Verdict("dags/made.py", speaker="scheduler"), 1.0),
    ):
        written.report(event)
    assert files_that_make(tmp_path, "load_stock") == ["dags/made.py"]
    assert files_that_make(tmp_path, "load_sales") == []
    assert files_that_make(tmp_path / "nowhere", "load_stock") == []
