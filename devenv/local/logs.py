"""The components' logs as lines in time order, followed where wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from devenv.backends.base import LogQuery
from devenv.events import LogLine
from devenv.foreign_text import clean
from devenv.logs.merge import in_order
from devenv.supervisor import log_file

_LOOK_SECONDS = 0.2


def components(folder: Path) -> list[str]:
    """The names of the components that have a log."""
    return sorted(path.stem for path in folder.glob("*.log") if path.stem != "supervisor")


def read(folder: Path, query: LogQuery, scrub: Callable[[str], str], now: float) -> Iterator[LogLine]:
    """The lines that a query asks for.

    Args:
        folder: with the logs.
        query: which.
        scrub: takes known secrets out of a text.
        now: seconds since the epoch.
    """
    since = 0.0 if query.since_seconds is None else now - query.since_seconds
    tails = {name: _Tail(folder / f"{name}.log") for name in _wanted(folder, query)}
    first = [
        [_line(name, at, text, scrub) for at, text in _last(tail.start(), since, query.tail)]
        for name, tail in tails.items()
    ]
    yield from in_order(first)
    while query.follow:
        for name in _wanted(folder, query):
            if name not in tails:
                tails[name] = _Tail(folder / f"{name}.log")
        fresh = [
            [_line(name, at, text, scrub) for at, text in tail.fresh() if at >= since] for name, tail in tails.items()
        ]
        yield from in_order(fresh)
        if not any(fresh):
            time.sleep(_LOOK_SECONDS)


def _wanted(folder: Path, query: LogQuery) -> list[str]:
    return [name for name in components(folder) if not query.components or name in query.components]


def _last(lines: Sequence[tuple[float, str]], since: float, tail: int | None) -> Sequence[tuple[float, str]]:
    recent = [line for line in lines if line[0] >= since]
    return recent if tail is None else recent[len(recent) - min(tail, len(recent)) :]


def _line(component: str, at: float, text: str, scrub: Callable[[str], str]) -> LogLine:
    return LogLine(component, component, at, clean(scrub(text)))


class _Tail:
    """One log, read on from where it was read to; a rotated one is read to its end first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = (0, 0)

    def start(self) -> list[tuple[float, str]]:
        """Everything that is there."""
        former = self._path.with_name(f"{self._path.name}.1")
        lines = _parse(former.read_bytes()) if former.exists() else []
        return lines + self.fresh()

    def fresh(self) -> list[tuple[float, str]]:
        """What was added since."""
        inode, offset = self._place
        lines: list[tuple[float, str]] = []
        try:
            state = self._path.stat()
            if inode and state.st_ino != inode:
                former = self._path.with_name(f"{self._path.name}.1")
                if former.exists() and former.stat().st_ino == inode:
                    lines = _parse(_after(former, offset)[0])
                offset = 0
            data, end = _after(self._path, offset)
        except FileNotFoundError:
            return lines
        self._place = (state.st_ino, end)
        return lines + _parse(data)


def _after(path: Path, offset: int) -> tuple[bytes, int]:
    """Whole lines after an offset, and where they end."""
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read()
    whole = data.rfind(b"\n") + 1
    return data[:whole], offset + whole


def _parse(data: bytes) -> list[tuple[float, str]]:
    parsed = (log_file.parse(line) for line in data.decode(errors="replace").splitlines())
    return [line for line in parsed if line is not None]
