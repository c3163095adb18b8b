"""An answer is asked for once by all who want it at the same time, and again when it is old or forgotten."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from devenv.minikube.cached_answer import CachedAnswer


def test_those_who_come_while_it_is_asked_wait_for_the_same_answer() -> None:
    asked: list[int] = []
    everybody = threading.Barrier(3)

    def ask() -> int:
        asked.append(1)
        return len(asked)

    answer = CachedAnswer(ask, 60)

    def come() -> int:
        everybody.wait(10)
        return answer()

    with ThreadPoolExecutor(3) as pool:
        assert [each.result() for each in [pool.submit(come) for _ in range(3)]] == [1, 1, 1]


def test_it_is_asked_anew_when_it_is_old_or_forgotten() -> None:
    now = [100.0]
    answers = iter("abc")
    answer = CachedAnswer(lambda: next(answers), 1.0, lambda: now[0])
    assert (answer(), answer()) == ("a", "a")
    now[0] += 1.1
    assert answer() == "b"
    answer.forget()
    assert answer() == "c"


def test_an_error_is_not_kept() -> None:
    said = iter([OSError("not yet"), None])

    def ask() -> str:
        if error := next(said):
            raise error
        return "there"

    answer = CachedAnswer(ask, 60)
    with pytest.raises(OSError, match="not yet"):
        answer()
    assert answer() == "there"
