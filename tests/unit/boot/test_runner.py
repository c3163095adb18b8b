"""What runs when, what overlaps, and what happens when one fails or the person has had enough."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from devenv.boot.runner import run_steps
from devenv.boot.step import Progress, Step
from devenv.events import Event, StepFailed, StepFinished, StepProgress, StepStarted

WAIT = 10.0


class Scripted(Step):
    name = "scripted"
    title = "Scripted"

    def __init__(
        self,
        name: str,
        after: tuple[str, ...] = (),
        *,
        done: bool = False,
        action: Callable[[Scripted], str] = lambda step: f"{step.name} ran",
    ) -> None:
        self.name = name  # type: ignore[misc]
        self.title = name.capitalize()  # type: ignore[misc]
        self.after = after  # type: ignore[misc]
        self.done = done
        self.action = action
        self.cancelled = threading.Event()
        self.ran = False

    def check(self) -> bool:
        return self.done

    def run(self, progress: Progress) -> str:
        self.ran = True
        progress("working", 0.5)
        return self.action(self)

    def cancel(self) -> None:
        self.cancelled.set()


def until_cancelled(step: Scripted) -> str:
    if not step.cancelled.wait(WAIT):
        pytest.fail("was not cancelled")
    message = "ended by cancel"
    raise RuntimeError(message)


def test_order_events_and_skipping() -> None:
    events: list[Event] = []
    first, second = Scripted("first", done=True), Scripted("second", ("first",))
    run_steps([second, first], events.append)
    assert not first.ran
    assert [type(event) for event in events] == [StepStarted, StepFinished, StepStarted, StepProgress, StepFinished]
    assert isinstance(events[1], StepFinished)
    assert events[1].skipped
    assert events[3] == StepProgress("second", "working", 0.5)
    assert isinstance(events[4], StepFinished)
    assert (events[4].message, events[4].skipped) == ("second ran", False)


def test_independent_steps_overlap() -> None:
    meeting = threading.Barrier(2, timeout=WAIT)

    def meet(_step: Scripted) -> str:
        meeting.wait()
        return ""

    run_steps([Scripted("images", action=meet), Scripted("cluster", action=meet)], lambda _event: None)


def test_first_failure_cancels_the_others_and_is_raised() -> None:
    events: list[Event] = []
    started = threading.Event()

    def fail(_step: Scripted) -> str:
        started.wait(WAIT)
        message = "no memory left"
        raise OSError(message)

    def wait(step: Scripted) -> str:
        started.set()
        return until_cancelled(step)

    slow, never = Scripted("slow", action=wait), Scripted("never", ("slow",))
    with pytest.raises(OSError, match="no memory left"):
        run_steps([Scripted("bad", action=fail), slow, never], events.append)
    assert slow.cancelled.is_set()
    assert not never.ran
    assert {event.name for event in events if isinstance(event, StepFailed)} == {"bad", "slow"}


def test_cancel_event_is_ctrl_c() -> None:
    cancel = threading.Event()

    def wait(step: Scripted) -> str:
        cancel.set()
        return until_cancelled(step)

    step = Scripted("slow", action=wait)
    with pytest.raises(KeyboardInterrupt):
        run_steps([step], lambda _event: None, cancel)
    assert step.cancelled.is_set()


def test_ctrl_c_reaches_the_running_step() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C

    def wait(step: Scripted) -> str:
        signal.raise_signal(signal.SIGINT)
        return until_cancelled(step)

    step = Scripted("slow", action=wait)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_steps([step], lambda _event: None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert step.cancelled.is_set()


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([Scripted("a"), Scripted("a")], "more than one step is named a"),
        ([Scripted("a", ("b",))], "waits for b, which is not a step"),
        ([Scripted("a", ("b",)), Scripted("b", ("a",))], "wait for each other: a, b"),
    ],
)
def test_a_list_that_cannot_end_is_refused(steps: list[Scripted], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_steps(steps, lambda _event: None)
