"""Runs the steps of `up`, `down` and `destroy`: in order where they wait for each other, at once where not."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devenv.boot.step import Step
from devenv.events import Reporter, StepFailed, StepFinished, StepProgress, StepStarted

CANCEL_SECONDS = 15.0
"""How long steps that were told to cancel may take to end; none can hold the process, their threads are daemons."""

_LOOK_SECONDS = 0.1
"""How often `cancel` is looked at, and Ctrl-C that the system gave to another thread than the main one."""


@dataclass(frozen=True)
class _Ended:
    step: Step
    error: BaseException | None


def run_steps(steps: Sequence[Step], report: Reporter, cancel: threading.Event | None = None) -> None:
    """Runs the steps and returns when all have ended well.

    Each step is asked first whether it is done already (`check`). The first failure starts no further
    step, cancels those that run, waits for them and is then raised. Every `StepStarted` is followed by one
    `StepFinished` or `StepFailed`.

    Args:
        steps: in the order in which they are started when nothing else decides.
        report: takes the events, from several threads.
        cancel: when set by another thread, the same as Ctrl-C.

    Raises:
        KeyboardInterrupt: Ctrl-C, or `cancel` was set; the running steps were cancelled. A second Ctrl-C
            does not wait for them.
        ValueError: two steps of one name, a name in `after` that is no step, or a circle.
        BaseException: whatever the first failing step raised.
    """
    waiting = list(_ordered(steps))
    running: dict[str, Step] = {}
    done: set[str] = set()
    ended: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
    try:
        while waiting or running:
            for step in [step for step in waiting if done.issuperset(step.after)]:
                waiting.remove(step)
                running[step.name] = step
                threading.Thread(target=_run, args=(step, report, ended), name=f"step-{step.name}", daemon=True).start()
            end = _next(ended, cancel)
            del running[end.step.name]
            if end.error is not None:
                _cancel(running, ended)
                raise end.error
            done.add(end.step.name)
    except KeyboardInterrupt:
        _cancel(running, ended)
        raise


def _run(step: Step, report: Reporter, ended: queue.SimpleQueue[_Ended]) -> None:
    """One step, in a thread of its own; whatever happens, its end is told."""
    started = time.monotonic()

    def progress(message: str, fraction: float | None = None) -> None:
        report(StepProgress(step.name, message, fraction))

    report(StepStarted(step.name, step.title))
    error: BaseException | None = None
    try:
        skipped = step.check()
        message = "" if skipped else step.run(progress)
        report(StepFinished(step.name, step.title, time.monotonic() - started, skipped=skipped, message=message))
    except BaseException as raised:  # noqa: BLE001 (raised again in the thread that called run_steps)
        error = raised
        report(StepFailed(step.name, step.title, time.monotonic() - started))
    ended.put(_Ended(step, error))


def _next(ended: queue.SimpleQueue[_Ended], cancel: threading.Event | None) -> _Ended:
    """The next step that ended; meanwhile neither `cancel` nor every Ctrl-C can wake a queue, so it looks up."""
    while True:
        if cancel is not None and cancel.is_set():
            raise KeyboardInterrupt
        try:
            return ended.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            continue


def _cancel(running: Mapping[str, Step], ended: queue.SimpleQueue[_Ended]) -> None:
    """Cancels the running steps together and waits until they have ended."""
    left = set(running)
    for step in running.values():
        threading.Thread(target=step.cancel, name=f"cancel-{step.name}", daemon=True).start()
    deadline = time.monotonic() + CANCEL_SECONDS
    while left and time.monotonic() < deadline:
        with contextlib.suppress(queue.Empty):
            left.discard(ended.get(timeout=_LOOK_SECONDS).step.name)


def _ordered(steps: Sequence[Step]) -> Sequence[Step]:
    """The steps, checked for what would make the runner wait for ever."""
    names = [step.name for step in steps]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"more than one step is named {', '.join(twice)}")
    for step in steps:
        unknown = sorted(set(step.after) - set(names))
        if unknown:
            raise ValueError(f"step {step.name} waits for {', '.join(unknown)}, which is not a step of this list")
    reached: set[str] = set()
    left = list(steps)
    while left:
        free = [step for step in left if reached.issuperset(step.after)]
        if not free:
            raise ValueError(f"these steps wait for each other: {', '.join(step.name for step in left)}")
        reached.update(step.name for step in free)
        left = [step for step in left if step not in free]
    return steps
