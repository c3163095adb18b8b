"""One session to the process that runs tasks: asks for a run and passes on what it tells."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from devenv.agent import frames
from devenv.agent.frames import Decoder, Frame, FrameError
from devenv.agent.tasks.request import ConnectionRequest, PytestRequest, Request
from devenv.agent_program import program, sent
from devenv.duplex import DuplexClosed
from devenv.foreign_text import clean
from devenv.tasks.errors import TaskProcessFailed
from devenv.tasks.model import (
    ConnectionTested,
    DagFound,
    DebuggerWaits,
    InputWanted,
    Printed,
    RunEnded,
    RunEvent,
    RunMade,
    RunRefused,
    TaskBegan,
    TaskEnded,
)
from devenv.verdict import Problem

if TYPE_CHECKING:
    from devenv.backends.base import TaskRunner

_NAMES_LIMIT = 200
_KINDS = {Request: "run", PytestRequest: "pytest", ConnectionRequest: "connection"}
_CHUNK = 524_288


class TaskSession:
    """Runs may be asked for one after the other; a run ends with its session."""

    def __init__(self, runner: TaskRunner) -> None:
        """Opens the session; the process is started where it does not run, which takes some seconds.

        Raises:
            TaskProcessFailed: it cannot be reached.
        """
        self._frames: list[Frame] = []
        self._decoder = Decoder(preamble=True)
        try:
            self._duplex = runner.open()
        except DuplexClosed as error:
            raise TaskProcessFailed(f"no session to the process that runs tasks: {error}", hint="devenv up") from error
        hello = frames.encode("hello", folders=dict(runner.folders), linger=runner.linger, owner=runner.owner)
        try:
            self._duplex.write(sent(program()) + hello)
            first = self._next()
        except BaseException as error:
            self._duplex.close()
            if isinstance(error, DuplexClosed):
                raise _failed(str(error)) from error
            raise
        if first.type != "ready":
            self._duplex.close()
            raise _failed(clean(first.fields.get("message", ""), 4_000))
        self._packages: dict[str, str] = dict(first.fields.get("packages") or {})

    def run(self, request: Request | PytestRequest | ConnectionRequest) -> Iterator[RunEvent]:
        """What happens, until the run has ended; the last event is `RunEnded`.

        Raises:
            TaskProcessFailed: the process ended first.
        """
        try:
            self._duplex.write(frames.encode(_KINDS[type(request)], request.encoded()))
        except DuplexClosed as error:
            raise _failed(str(error)) from error
        yield from self.rest()

    def rest(self) -> Iterator[RunEvent]:
        """What a run tells from now on, for one that was interrupted while it was read.

        Raises:
            TaskProcessFailed: the process ended first.
        """
        try:
            while True:
                frame = self._next()
                event = _event(frame)
                if event is not None:
                    yield event
                if frame.type == "ended":
                    return
        except (DuplexClosed, FrameError) as error:
            raise _failed(str(error)) from error

    def send(self, name: str, archive: bytes) -> None:
        """Sends a package, where the process does not have it; before a run that needs it.

        Args:
            name: `debugpy` or `pytest`.
            archive: a zip of its modules.

        Raises:
            TaskProcessFailed: it does not take it.
        """
        if self._packages.get(name) == hashlib.sha256(archive).hexdigest():
            return
        try:
            for start in range(0, len(archive), _CHUNK):
                last = start + _CHUNK >= len(archive)
                self._duplex.write(frames.encode("package", archive[start : start + _CHUNK], name=name, last=last))
            self._packages = dict(self._next().fields.get("packages") or {})
        except (DuplexClosed, FrameError) as error:
            raise _failed(str(error)) from error

    def type(self, line: str) -> None:
        """Sends a line that was typed for `InputWanted`, with its end; "" says that no more will come.

        Raises:
            TaskProcessFailed: the process ended.
        """
        try:
            self._duplex.write(frames.encode("typed", line.encode()))
        except DuplexClosed as error:
            raise _failed(str(error)) from error

    def interrupt(self) -> None:
        """Ends the run as Ctrl-C would; a second time, at once."""
        try:
            self._duplex.write(frames.encode("interrupt"))
        except DuplexClosed as error:
            raise _failed(str(error)) from error

    def close(self) -> None:
        """Ends the session, and a run with it; the process waits for the next."""
        self._duplex.close()

    def _next(self) -> Frame:
        while not self._frames:
            self._frames = list(self._decoder.feed(self._duplex.read()))
        return self._frames.pop(0)


def _failed(reason: str) -> TaskProcessFailed:
    return TaskProcessFailed(f"the process that runs tasks ended: {reason}", hint="devenv doctor")


def _event(frame: Frame) -> RunEvent | None:
    if frame.type == "output":
        return Printed(frame.payload)
    if frame.type == "ended":
        return RunEnded(_number(frame.fields.get("code"), 1), clean(frame.fields.get("signal") or "", 40))
    if frame.type != "event":
        return None
    raw = frame.json()
    return _of_run(raw) if isinstance(raw, Mapping) else None


def _of_run(raw: Mapping[str, Any]) -> RunEvent | None:
    kind = raw.get("event")
    task_id, map_index = clean(raw.get("task_id", ""), 250), _number(raw.get("map_index"), -1)
    if kind == "dag":
        return DagFound(clean(raw.get("file", ""), 1_000))
    if kind == "run":
        return RunMade(clean(raw.get("run_id", ""), 250), bool(raw.get("existing")), bool(raw.get("bare")))
    if kind == "debugger":
        return DebuggerWaits(_number(raw.get("port"), 0))
    if kind == "connection":
        message = clean(raw.get("message", ""), 2_000)
        return ConnectionTested(
            bool(raw.get("found")), clean(raw.get("type", ""), 100), bool(raw.get("works")), message
        )
    if kind == "input":
        return InputWanted()
    if kind == "started":
        return TaskBegan(task_id, map_index)
    if kind == "left_out":
        return TaskEnded(task_id, map_index, clean(raw.get("state", ""), 40))
    if kind == "finished":
        problem, xcoms = raw.get("problem"), raw.get("xcoms")
        return TaskEnded(
            task_id,
            map_index,
            clean(raw.get("state", ""), 40),
            float(raw.get("seconds") or 0.0),
            {clean(key, 200): clean(value, 400) for key, value in xcoms.items()} if isinstance(xcoms, Mapping) else {},
            Problem.from_json(problem) if isinstance(problem, Mapping) else None,
        )
    if kind == "refused":
        known = [*(raw.get("dags") or ()), *(raw.get("tasks") or ())]
        return RunRefused(
            clean(raw.get("reason", ""), 40),
            clean(raw.get("message", ""), 2_000),
            tuple(clean(name, 250) for name in known[:_NAMES_LIMIT]),
            clean(raw.get("file", ""), 1_000),
            tuple(Problem.from_json(one) for one in raw.get("problems") or () if isinstance(one, Mapping)),
        )
    return None


def _number(raw: object, otherwise: int) -> int:
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else otherwise
