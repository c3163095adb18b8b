"""What a test run tells, as plain data; what is asked for is `devenv.agent.tasks.request.Request`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from devenv.verdict import Problem


@dataclass(frozen=True)
class Printed:
    """Bytes that a task printed or logged."""

    data: bytes


@dataclass(frozen=True)
class DagFound:
    """The file that makes the DAG."""

    file: str


@dataclass(frozen=True)
class RunMade:
    """The run has begun.

    Attributes:
        run_id: its id.
        existing: its date, configuration and XComs are those of a run that there was.
        bare: it has one task alone, nothing of what comes before it has run.
    """

    run_id: str
    existing: bool
    bare: bool = False


@dataclass(frozen=True)
class _OfTask:
    """What is told of one task.

    Attributes:
        task_id, map_index: which.
    """

    task_id: str
    map_index: int

    @property
    def name(self) -> str:
        """`load`, or `load[2]` for one of a mapped task."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


@dataclass(frozen=True)
class TaskBegan(_OfTask):
    """A task began."""


@dataclass(frozen=True)
class TaskEnded(_OfTask):
    """A task ended.

    Attributes:
        state: Airflow's: `success`, `failed`, `skipped`, `up_for_reschedule` …; `not run` and `upstream_failed` for one
            that did not begin.
        seconds: how long it ran.
        xcoms: what it pushed, as bounded text.
        problem: why it failed, with the place in the project; None otherwise.
    """

    state: str
    seconds: float = 0.0
    xcoms: Mapping[str, str] = field(default_factory=dict)
    problem: Problem | None = None


@dataclass(frozen=True)
class DebuggerWaits:
    """The run waits for an editor's debugger.

    Attributes:
        port: on 127.0.0.1 of where the run is.
    """

    port: int


@dataclass(frozen=True)
class InputWanted:
    """The run stands at `breakpoint()`, and wants a line for pdb."""


@dataclass(frozen=True)
class ConnectionTested:
    """What a connection's hook says of it.

    Attributes:
        found: there is a connection of this name.
        type: its type: `postgres`, `http` …
        works: the other side answers, and lets it in.
        message: the hook's, or the client library's.
    """

    found: bool
    type: str
    works: bool
    message: str


@dataclass(frozen=True)
class RunRefused:
    """The run cannot begin.

    Attributes:
        reason: `dag`, `task`, `run`, `map-index` or `broken` (the file does not parse).
        message: in words.
        known: the names that there are, where one was mistyped.
        file: the file that does not parse.
        problems: what is wrong with it.
    """

    reason: str
    message: str
    known: tuple[str, ...] = ()
    file: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class RunEnded:
    """The run's process ended: with an exit code, or by a signal."""

    code: int
    signal: str = ""


RunEvent = (
    Printed
    | DagFound
    | RunMade
    | TaskBegan
    | TaskEnded
    | DebuggerWaits
    | InputWanted
    | ConnectionTested
    | RunRefused
    | RunEnded
)
