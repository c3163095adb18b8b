"""A log that is followed loses no line and repeats none, however Airflow gives it."""

from __future__ import annotations

from devenv.airflow.task_log import TaskLogLine
from devenv.logs.task import _Followed


def lines(*texts: str) -> list[TaskLogLine]:
    return [TaskLogLine(text) for text in texts]


def shown(one: _Followed, *texts: str, finished: bool = False) -> list[str]:
    return [line.text for line in one.new(lines(*texts), finished=finished)]


def test_what_the_pod_wrote_beside_the_file_shifts_nothing() -> None:
    one = _Followed()
    assert shown(one, "*** Found", "a", "pod: a", "b") == ["a", "pod: a"]  # the last line may be half
    assert shown(one, "*** Found", "a", "pod: a", "b", "c") == ["b"]
    assert shown(one, "*** Found", "a", "b", "c", "error", finished=True) == ["c"]
    assert shown(one, "*** Found", "a", "b", "c", "error", finished=True) == ["error"]
    assert not one.complete
    assert shown(one, "*** Found", "a", "b", "c", "error", finished=True) == []
    assert one.complete


def test_equal_lines_are_shown_as_often_as_they_were_written() -> None:
    one = _Followed()
    assert shown(one, "x", "x", "y") == ["x", "x"]
    assert shown(one, "x", "x", "y", "x", "z") == ["y", "x"]


def test_a_line_that_the_file_and_the_pod_both_have_is_shown_once() -> None:
    one = _Followed()
    twice = [TaskLogLine("[10:00] a", 1.0), TaskLogLine("pod only"), TaskLogLine("[10:00] a", 1.0), TaskLogLine("z")]
    assert [line.text for line in one.new(twice, finished=False)] == ["[10:00] a", "pod only"]
    really = [TaskLogLine("[10:00] a", 1.0), TaskLogLine("[10:00] a", 1.0), TaskLogLine("z")]
    assert [line.text for line in one.new(really, finished=True)] == ["[10:00] a"]


def test_what_comes_after_the_end_is_shown() -> None:
    one = _Followed()
    assert shown(one, "a", finished=True) == []
    assert shown(one, "a", "Marking task as FAILED", finished=True) == ["a"]
    assert shown(one, "a", "Marking task as FAILED", finished=True) == ["Marking task as FAILED"]
    assert not one.complete


def test_lines_between_the_file_and_the_last_hundred_of_the_pod_are_waited_for() -> None:
    """A task of 10,000 lines: five stood in neither at one look, and were shown after the ones that followed them."""
    one = _Followed()
    names = [f"[12:00:00] line {number}" for number in range(600)]
    looks = [names[:60], [*names[:200], *names[205:305]], [*names[:400], *names[400:500]], names, names, names]
    seen = [line for at, look in enumerate(looks) for line in shown(one, *look, finished=at > 2)]
    assert seen == names
