"""Several logs as one, in time order."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from devenv.events import LogLine

Source = Callable[[], Iterable[LogLine]]
"""Opens a log, which may take a while, and gives its lines, the oldest first."""

_HOLD_SECONDS = 0.3
_HELD_LIMIT = 10_000


def in_order(logs: Iterable[Iterable[LogLine]]) -> Iterator[LogLine]:
    """Logs that end, merged exactly; only one line of each is held."""
    return heapq.merge(*logs, key=lambda line: line.time)


class Merger:
    """Logs that are being followed, merged: a line is held back for a moment, in case an older one is on its way.

    Sources may be added while lines are read; each is read in a thread of its own. At most 10,000 lines are
    held; a reader that is slower than the logs slows the logs down.
    """

    def __init__(self, *, hold: float = _HOLD_SECONDS, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Makes an empty one.

        Args:
            hold: seconds for which a line is held back after it came, or after the last source was opened.
            monotonic: the clock.
        """
        self._hold = hold
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._held: list[tuple[float, int, float, LogLine]] = []
        self._numbers = count()
        self._opening = 0
        self._open = 0
        self._last_opened = 0.0
        self._complete = False
        self._closed = False
        self._error: BaseException | None = None

    def add(self, source: Source) -> None:
        """Follows another log; an error while it is read ends the iteration with that error."""
        with self._changed:
            if self._closed:
                return
            self._opening += 1
            self._open += 1
        threading.Thread(target=self._follow, args=(source,), name="log", daemon=True).start()

    def complete(self) -> None:
        """No source will be added any more: the iteration ends when all have ended."""
        with self._changed:
            self._complete = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Ends the iteration with an error."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def close(self) -> None:
        """Ends the iteration; sources that are still open find out with their next line."""
        with self._changed:
            self._closed = True
            self._held.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[LogLine]:
        """Lines in time order; raises what a source raised, after the lines that came before."""
        while True:
            with self._changed:
                line = self._next()
                while line is None:
                    if self._closed or self._ended():
                        return
                    self._changed.wait(self._wait_seconds())
                    line = self._next()
            yield line

    def _ended(self) -> bool:
        if self._held or (self._open and self._error is None):
            return False
        if self._error is not None:
            raise self._error
        return self._complete

    def _due(self) -> float:
        return max(self._held[0][2], self._last_opened) + self._hold

    def _next(self) -> LogLine | None:
        if not self._held:
            return None
        nothing_on_its_way = self._open == 0 or self._error is not None
        full = len(self._held) >= _HELD_LIMIT
        if nothing_on_its_way or full or (not self._opening and self._due() <= self._monotonic()):
            line = heapq.heappop(self._held)[3]
            if full:
                self._changed.notify_all()
            return line
        return None

    def _wait_seconds(self) -> float | None:
        """Until the next line is due; None (until something changes) where that is not known."""
        if not self._held or self._opening:
            return None
        return max(0.0, self._due() - self._monotonic())

    def _follow(self, source: Source) -> None:
        opening = True
        try:
            lines = source()
            with self._changed:
                opening = False
                self._opening -= 1
                self._last_opened = self._monotonic()
                self._changed.notify_all()
            for line in lines:
                with self._changed:
                    while len(self._held) >= _HELD_LIMIT and not self._closed:
                        self._changed.wait()
                    if self._closed:
                        return
                    heapq.heappush(self._held, (line.time, next(self._numbers), self._monotonic(), line))
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 (handed to the reader)
            self.fail(error)
        finally:
            with self._changed:
                self._opening -= opening
                self._open -= 1
                self._changed.notify_all()
