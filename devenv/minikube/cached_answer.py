"""An answer that costs a program to get, kept for a moment: one command asks for it in several places at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class CachedAnswer(Generic[Answer]):
    """Asks once for all who want to know at the same time. Thread-safe.

    Args:
        ask: gives the answer; its errors are not kept.
        seconds: how long an answer is good; who changes what is asked about calls `forget`.
        clock: seconds that only go forward.
    """

    def __init__(self, ask: Callable[[], Answer], seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._answer: tuple[Answer, float] | None = None

    def __call__(self) -> Answer:
        """The answer, at most `seconds` old."""
        with self._lock:
            if self._answer is None or self._clock() - self._answer[1] > self._seconds:
                self._answer = (self._ask(), self._clock())
            return self._answer[0]

    def forget(self) -> None:
        """The next who asks gets a new answer."""
        with self._lock:
            self._answer = None
