"""Output that arrives in pieces is shown as lines."""

from __future__ import annotations

from devenv.tasks.lines import Lines


def test_a_line_is_whole_once_its_end_has_arrived() -> None:
    lines = Lines()
    assert lines.feed(b"one\r\ntw") == ["one"]
    assert lines.feed(b"o\n\nthr\xff") == ["two", ""]
    assert lines.rest() == ["thr\N{REPLACEMENT CHARACTER}"]
    assert lines.rest() == []


def test_a_line_that_does_not_end_is_passed_on() -> None:
    lines = Lines()
    assert lines.feed(b"x" * 65_537) == ["x" * 65_537]
    assert lines.feed(b"y\n") == ["y"]
