"""A test run: what is asked for, and what it tells, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from devenv.verdict import Problem


@dataclass(frozen=True)
class TestRequest:
    """What to run.

    Attributes:
        dag_id: the DAG.
        task_id: only this task; "" for the whole DAG.
        map_index: only this one of a mapped task; -1 for all.
        from_start: what comes before `task_id` runs first.
        run_id: the run whose configuration, date and XComs a single task gets; "" for the latest.
        date: the logical date, ISO 8601; "" for now, or the run's.
        conf: the run's configuration; None for the run's own.
        files: where the DAG may be made, likeliest first, as `dags/etl.py`.
        variables: of the environment, set for this run.
        verbose: also the lines in which Airflow says how it runs the task.
        vault_mount: where Variables and Connections lie in Vault, for hints.
    """

    __test__ = False  # no test of pytest's

    dag_id: str
    task_id: str = ""
    map_index: int = -1
    from_start: bool = False
    run_id: str = ""
    date: str = ""
    conf: Mapping[str, Any] | None = None
    files: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    verbose: bool = False
    vault_mount: str = "secret"


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
class TaskBegan:
    """A task began."""

    task_id: str
    map_index: int


@dataclass(frozen=True)
class TaskEnded:
    """A task ended.

    Attributes:
        task_id, map_index: which.
        state: Airflow's: `success`, `failed`, `skipped`, `up_for_reschedule` …; `not run` and `upstream_failed` for one
            that did not begin.
        seconds: how long it ran.
        xcoms: what it pushed, as bounded text.
        problem: why it failed, with the place in the project; None otherwise.
    """

    task_id: str
    map_index: int
    state: str
    seconds: float = 0.0
    xcoms: Mapping[str, str] = field(default_factory=dict)
    problem: Problem | None = None

    @property
    def name(self) -> str:
        """`load`, or `load[2]` for one of a mapped task."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


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


RunEvent = Printed | DagFound | RunMade | TaskBegan | TaskEnded | RunRefused | RunEnded
