from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest

from devenv.events import LogLine
from devenv.logs.merge import Merger, in_order


def line(component: str, time: float) -> LogLine:
    return LogLine(component, component, time, f"{component} {time}")


def test_logs_that_end_are_merged_exactly() -> None:
    merged = list(in_order([[line("a", 1), line("a", 4)], [line("b", 2), line("b", 3)]]))
    assert [item.time for item in merged] == [1, 2, 3, 4]


def test_an_older_line_that_comes_a_moment_later_is_put_before() -> None:
    merger = Merger(hold=0.2)
    first_is_out = threading.Event()

    def late() -> Iterator[LogLine]:
        first_is_out.wait(5)
        yield line("late", 1)

    def early() -> Iterator[LogLine]:
        yield line("early", 2)
        first_is_out.set()

    merger.add(early)
    merger.add(late)
    merger.complete()
    assert [item.component for item in merger] == ["late", "early"]


def test_nothing_is_shown_before_every_log_is_open_and_a_followed_one_needs_no_end() -> None:
    merger = Merger(hold=0.05)
    lines: queue.Queue[LogLine | None] = queue.Queue()
    opened = threading.Event()

    def followed() -> Iterator[LogLine]:
        return iter(lines.get, None)

    def slow_to_open() -> Iterator[LogLine]:
        opened.wait(5)
        return iter([line("slow", 0.5)])

    merger.add(followed)
    merger.add(slow_to_open)
    lines.put(line("fast", 1))
    found = iter(merger)
    opened.set()
    assert [next(found).component, next(found).component] == ["slow", "fast"]
    lines.put(None)
    merger.complete()
    assert list(found) == []


def test_an_error_of_a_log_comes_after_the_lines_before_it() -> None:
    def breaks() -> Iterator[LogLine]:
        yield line("a", 1)
        raise OSError("gone")

    merger = Merger(hold=0.01)
    merger.add(breaks)
    found = iter(merger)
    assert next(found).time == 1
    with pytest.raises(OSError, match="gone"):
        next(found)


def test_a_closed_merger_ends_at_once() -> None:
    merger = Merger()
    merger.close()
    assert list(merger) == []
