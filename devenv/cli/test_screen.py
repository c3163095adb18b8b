"""What `devenv test` shows of a run, as it happens."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

from devenv.errors import ExitCode
from devenv.events import Notice
from devenv.tasks.errors import TaskProcessFailed
from devenv.tasks.lines import Lines
from devenv.tasks.model import (
    DagFound,
    DebuggerWaits,
    InputWanted,
    Printed,
    RunEnded,
    RunMade,
    RunRefused,
    TaskBegan,
    TaskEnded,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from devenv.agent.tasks.request import Request
    from devenv.console.console import Console
    from devenv.logs.scrub import Scrubber
    from devenv.tasks.model import RunEvent
    from devenv.tasks.session import TaskSession

_MARKS = {"success": ("✓", "green"), "skipped": ("○", "yellow"), "failed": ("✗", "bold red")}
_LOOK_SECONDS = 0.03
_PATIENCE_SECONDS = 1.0


class _Ender(threading.Thread):
    """Ends a run whose time is over, or which is overtaken: as Ctrl-C does, and at once where that does not help.

    Attributes:
        over: set when the run has ended.
        why: `overdue` or `overtaken` where it had to be ended.
    """

    def __init__(self, tasks: TaskSession, seconds: float, overtaken: Callable[[], bool]) -> None:
        super().__init__(name="end of the run", daemon=True)
        self.over = threading.Event()
        self.why = ""
        self._tasks = tasks
        self._seconds = seconds
        self._overtaken = overtaken

    def run(self) -> None:
        until = time.monotonic() + self._seconds
        while not self.over.wait(_LOOK_SECONDS):
            if time.monotonic() >= until or self._overtaken():
                self.why = "overtaken" if time.monotonic() < until else "overdue"
                break
        else:
            return
        with contextlib.suppress(TaskProcessFailed):  # which the run itself tells
            self._tasks.interrupt()
            if not self.over.wait(_PATIENCE_SECONDS):
                self._tasks.interrupt()


class Screen:
    """Prints the events of one run.

    Attributes:
        refused: why the run could not begin; None when it did.
        file: the file that makes the DAG, once it was found.
        on_debugger: called with the port at which the run waits for an editor.
    """

    def __init__(self, out: Console, request: Request, scrub: Scrubber) -> None:
        """Takes the console, what was asked for, and what blanks secrets."""
        self._out = out
        self._request = request
        self._scrub = scrub
        self._lines = Lines()
        self._states: Counter[str] = Counter()
        self.refused: RunRefused | None = None
        self.file = ""
        self.on_debugger: Callable[[int], None] = lambda _port: None

    def follow(self, tasks: TaskSession, *, seconds: float, overtaken: Callable[[], bool] = lambda: False) -> int:
        """Runs what was asked for to its end, and returns the exit code; Ctrl-C ends the run, twice at once.

        Args:
            tasks: an open session.
            seconds: how long the run may take.
            overtaken: whether there is something newer to run; asked often, from another thread.
        """
        ender = _Ender(tasks, seconds, overtaken)
        ender.start()
        interrupted = False
        events = tasks.run(self._request)
        ended = RunEnded(1)
        try:
            while True:
                try:
                    event = self._show_next(tasks, events)
                except KeyboardInterrupt:
                    interrupted = True
                    tasks.interrupt()
                    events = tasks.rest()
                    continue
                if event is None:
                    break
                if isinstance(event, RunEnded):
                    ended = event
        finally:
            ender.over.set()
        self._flush()
        if self.refused is not None:
            return ExitCode.USAGE
        if ender.why == "overtaken":
            self._out.print(f"{self._request.dag_id} was saved again: the run was ended")
            return ExitCode.FAILED
        if interrupted:
            self._out.print(f"{self._request.dag_id} was interrupted")
            return ExitCode.INTERRUPTED
        return self._summary(ended, f" after {seconds:.0f} s" if ender.why else "")

    def _show_next(self, tasks: TaskSession, events: Iterator[RunEvent]) -> RunEvent | None:
        event = next(events, None)
        if isinstance(event, Printed):
            self._print(self._lines.feed(event.data))
        elif isinstance(event, InputWanted):
            self._flush()
            tasks.type(self._out.ask("(Pdb) "))
        elif event is not None:
            self._flush()
            self._show(event)
        return event

    def _show(self, event: RunEvent) -> None:
        from rich.text import Text

        if isinstance(event, DebuggerWaits):
            self.on_debugger(event.port)
        elif isinstance(event, DagFound):
            self.file = event.file
        elif isinstance(event, RunMade):
            self._out.record("test.started", {"dag_id": self._request.dag_id, **asdict(event)})
            about = "as in" if event.existing else "run"
            self._out.print(Text(f"{self._request.dag_id}  {about} {event.run_id}", "dim"))
            if event.bare:
                said = f"{self._request.dag_id} has no run yet, so the task finds no XComs of the tasks before it"
                hint = f"devenv test {self._request.dag_id} {self._request.task_id} --from-start"
                self._out.report(Notice("warning", said, hint))
        elif isinstance(event, TaskEnded):
            self._show_end(event)
        elif isinstance(event, TaskBegan):
            self._out.record("test.task_started", asdict(event))
            self._out.print(Text.assemble(("▶ ", "cyan"), (event.name, "bold")))
        elif isinstance(event, RunRefused):
            self.refused = event
            for problem in event.problems:
                if problem.severity == "error":
                    self._out.problem(problem)

    def _show_end(self, event: TaskEnded) -> None:
        from rich.text import Text

        self._states[event.state] += 1
        self._out.record("test.task_finished", asdict(event))
        mark, style = _MARKS.get(event.state, ("○", "yellow"))
        line = Text.assemble((mark, style), " ", (event.name, "bold"))
        if event.state != "success":
            line.append(f"  {event.state.replace('_', ' ')}", style)
        if event.seconds:
            line.append(f"  {event.seconds:.2f} s", "dim")
        for key, value in event.xcoms.items():
            line.append(f"\n  {key} = {self._scrub(value)}", "dim")
        self._out.print(*line.split("\n"))
        if event.problem is not None:
            self._out.problem(event.problem)

    def _flush(self) -> None:
        """What was printed without an end of its line."""
        self._print(self._lines.rest())

    def _print(self, lines: list[str]) -> None:
        for line in lines:
            text = self._scrub(line)
            self._out.record("test.output", {"text": text})
            self._out.print(f"  {text}")

    def _summary(self, ended: RunEnded, late: str) -> int:
        from rich.text import Text

        dag_id = self._request.dag_id
        if ended.signal or late:
            how = f"was ended{late}" if late else f"was ended by {ended.signal}"
            hint = "  (out of memory?)" if ended.signal == "SIGKILL" and not late else ""
            self._out.record("test.finished", {"dag_id": dag_id, "state": "failed", "signal": ended.signal})
            self._out.print(Text(f"{dag_id} {how}{hint}", "bold red"))
            return ExitCode.FAILED
        state = "success" if ended.code == 0 else "failed"
        self._out.record("test.finished", {"dag_id": dag_id, "state": state, "tasks": dict(self._states)})
        counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in self._states.items())
        style = "green" if ended.code == 0 else "bold red"
        verb = "passed" if ended.code == 0 else "failed"
        self._out.print(Text(f"{dag_id} {verb}: {counts or 'no task ran'}", style))
        return ExitCode.OK if ended.code == 0 else ExitCode.FAILED
