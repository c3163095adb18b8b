"""What is shown when, with a clock of the test's own."""

from __future__ import annotations

from devenv.console.board import BURST_SECONDS, VERDICT_SECONDS, Board, Burst, Gone, Judged, Save, SchedulerSaw
from devenv.events import FileSynced, PickedUp, VerdictCleared, VerdictReached
from devenv.verdict import Problem, Verdict

SYNTAX = Problem("syntax-error", "error", "'(' was never closed", "SyntaxError", "dags/a.py", 3, 6)
SLOW = Problem("slow-top-level", "warning", "takes 2 s")


def saved(path: str = "dags/a.py") -> FileSynced:
    return FileSynced(path, "changed", 100, 4.0)


def judged(path: str = "dags/a.py", *problems: Problem, **options) -> VerdictReached:
    return VerdictReached(Verdict(path, ("a",), problems, **options), 90.0)


def test_a_save_and_its_verdict_are_one_line() -> None:
    board = Board()
    assert board.synced(saved(), 0.0) == []
    (line,) = board.judged(judged(), 0.1)
    assert isinstance(line, Save)
    assert (line.change, line.milliseconds, line.verdict_milliseconds, line.repaired) == ("changed", 4.0, 90.0, False)


def test_on_a_terminal_the_line_stays_open_for_the_scheduler() -> None:
    board = Board(scheduler_seconds=4.0)
    board.synced(saved(), 0.0)
    assert board.judged(judged(), 0.1) == []
    (line,) = board.picked_up(PickedUp("dags/a.py", 1200.0))
    assert isinstance(line, Save)
    assert line.picked_up_milliseconds == 1200.0

    board.synced(saved(), 10.0)
    board.judged(judged(), 10.1)
    assert board.due(13.0) == []
    assert len(board.due(14.2)) == 1
    assert board.picked_up(PickedUp("dags/a.py", 5000.0)) == [SchedulerSaw("dags/a.py", 5000.0)]


def test_a_file_without_a_verdict_does_not_wait_for_ever_and_no_other_than_python_waits_at_all() -> None:
    board = Board()
    assert len(board.synced(saved("dags/config/a.yaml"), 0.0)) == 1
    board.synced(saved(), 0.0)
    assert board.next_due() == VERDICT_SECONDS
    assert len(board.due(VERDICT_SECONDS)) == 1
    assert board.next_due() is None


def test_a_second_save_does_not_swallow_the_first() -> None:
    board = Board()
    board.synced(saved(), 0.0)
    assert len(board.synced(saved(), 0.2)) == 1


def test_broken_until_repaired() -> None:
    board = Board()
    board.synced(saved(), 0.0)
    board.judged(judged("dags/a.py", SYNTAX), 0.1)
    assert list(board.broken) == ["dags/a.py"]
    board.synced(saved(), 5.0)
    (line,) = board.judged(judged(), 5.1)
    assert isinstance(line, Save)
    assert line.repaired
    assert board.broken == {}


def test_the_scheduler_repeating_the_agent_is_not_shown_and_disagreeing_is() -> None:
    board = Board()
    board.judged(judged("dags/a.py", SYNTAX), 0.0)
    same = Problem("import-error", "error", "'(' was never closed", "SyntaxError", "dags/a.py", 3)
    assert board.judged(judged("dags/a.py", same, speaker="scheduler"), 1.0) == []
    other = Problem("import-error", "error", "No module named 'x'", "ModuleNotFoundError", "dags/a.py", 1)
    (shown,) = board.judged(judged("dags/a.py", other, speaker="scheduler"), 2.0)
    assert isinstance(shown, Judged)


def test_one_problem_in_many_files_is_shown_in_full_once() -> None:
    board = Board()
    shown = [board.judged(judged(f"dags/{name}.py", SYNTAX, because="dags/lib.py"), 0.0)[0] for name in "abc"]
    assert [item.again for item in shown if isinstance(item, Judged)] == [False, True, True]
    (later,) = board.judged(judged("dags/d.py", SYNTAX), 60.0)
    assert isinstance(later, Judged)
    assert not later.again


def test_many_good_verdicts_are_summed_up_and_a_few_are_listed() -> None:
    board = Board()
    for number in range(40):
        assert board.judged(judged(f"dags/{number}.py", because="dags/lib.py"), 0.0) == []
    assert board.due(BURST_SECONDS) == [Burst(40, "dags/lib.py", 90.0)]
    board.judged(judged("dags/1.py"), 5.0)
    assert [type(item) for item in board.due(6.0)] == [Judged]


def test_a_warning_is_shown_when_it_is_new() -> None:
    board = Board()
    board.synced(saved(), 0.0)
    (first,) = board.judged(judged("dags/a.py", SLOW), 0.1)
    board.synced(saved(), 5.0)
    (second,) = board.judged(judged("dags/a.py", SLOW), 5.1)
    assert isinstance(first, Save)
    assert isinstance(second, Save)
    assert first.verdict is not None
    assert second.verdict is not None
    assert (first.verdict.problems, second.verdict.problems) == ((SLOW,), ())


def test_a_file_that_is_gone_is_no_longer_broken() -> None:
    board = Board()
    board.judged(judged("dags/a.py", SYNTAX), 0.0)
    assert board.cleared(VerdictCleared("dags/a.py", ("a",))) == [Gone("dags/a.py", ("a",))]
    assert board.broken == {}
