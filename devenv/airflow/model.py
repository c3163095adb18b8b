"""What Airflow's REST API speaks of, as plain data: DAGs, runs, tasks; the same for 2.x and 3.x.

Everything that comes back is bounded and cleaned of terminal escapes; times are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal, NamedTuple

from devenv.foreign_text import clean


@dataclass(frozen=True)
class Dag:
    """A DAG as the scheduler knows it.

    Attributes:
        dag_id: its name.
        file: the absolute path of its file where Airflow runs.
        paused: whether the scheduler makes no runs of it.
        broken: whether its file does not parse now; what is known is then an older version.
        schedule: in a few words, "" for none.
        next_run: when the next run is made, 0 for never.
        owners, tags: as its author gave them.
        parsed_at: when the scheduler parsed its file last, 0 when not known.
    """

    dag_id: str
    file: str = ""
    paused: bool = False
    broken: bool = False
    schedule: str = ""
    next_run: float = 0.0
    owners: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    parsed_at: float = 0.0


@dataclass(frozen=True)
class Run:
    """A run of a DAG; `start` and `end` are 0 until known, `logical` is 0 where the run has no logical date."""

    dag_id: str
    run_id: str
    state: str
    start: float = 0.0
    end: float = 0.0
    logical: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether its state is final."""
        return self.state in ("success", "failed")


class TaskKey(NamedTuple):
    """Names one task of one run; `map_index` is -1 for a task that is not mapped."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1


@dataclass(frozen=True)
class TaskInstance:
    """A task of a run.

    Attributes:
        task_id: its name.
        map_index: -1 unless it is one of a mapped task.
        state: `none`, `scheduled`, `queued`, `running`, `success`, `failed`, `up_for_retry` …
        try_number: the try that runs or ran last, from 1 on; 0 when there was none.
        operator: the class.
        start, end: of the last try, 0 until known.
        host: where it runs or ran: the pod's name or address.
    """

    task_id: str
    map_index: int = -1
    state: str = "none"
    try_number: int = 0
    operator: str = ""
    start: float = 0.0
    end: float = 0.0
    host: str = ""

    @property
    def label(self) -> str:
        """The name for a person: `load`, or `load[3]` of a mapped task."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"


@dataclass(frozen=True)
class RunProgress:
    """A run and its tasks at one moment."""

    run: Run
    tasks: tuple[TaskInstance, ...]


@dataclass(frozen=True)
class ImportProblem:
    """A file that the scheduler could not parse: its path, the trace, and when."""

    file: str
    trace: str
    at: float = 0.0


@dataclass(frozen=True)
class Heartbeat:
    """What Airflow says of one of its parts: `healthy`, `unhealthy`, or `unknown` where none ever ran."""

    status: Literal["healthy", "unhealthy", "unknown"]
    at: float = 0.0
    """When it was last alive, 0 where there is no such time."""


@dataclass(frozen=True)
class Backfill:
    """A backfill of Airflow 3: its number, and whether it is complete."""

    number: int
    complete: bool


def read_text(value: object, limit: int = 1000) -> str:
    """A text of the API's, cleaned; "" for none."""
    return clean(value, limit) if value is not None else ""


def read_time(value: object) -> float:
    """Seconds since the epoch of a time as Airflow writes it: `2026-11-22T06:23:38.993709+00:00`, or with Z."""
    if not isinstance(value, str) or not value:
        return 0.0
    try:
        parsed = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()


def _names(value: object, key: str) -> tuple[str, ...]:
    """Names in a list of texts or of objects (3.x's tags)."""
    items = value if isinstance(value, list) else []
    return tuple(read_text(item.get(key) if isinstance(item, dict) else item, 250) for item in items[:100])


def read_dag(raw: Mapping[str, Any]) -> Dag:
    """A DAG of the API's."""
    schedule = raw.get("timetable_summary")
    if not schedule and isinstance(raw.get("schedule_interval"), dict):  # 2.x: {"__type": "CronExpression", "value": …}
        interval = raw["schedule_interval"]
        schedule = interval.get("value") or raw.get("timetable_description")
    return Dag(
        dag_id=read_text(raw.get("dag_id"), 250),
        file=read_text(raw.get("fileloc"), 4096),
        paused=raw.get("is_paused") is True,
        broken=raw.get("has_import_errors") is True,
        schedule=read_text(schedule, 200),
        next_run=read_time(raw.get("next_dagrun_create_after") or raw.get("next_dagrun_run_after")),
        owners=_names(raw.get("owners"), "name"),
        tags=_names(raw.get("tags"), "name"),
        parsed_at=read_time(raw.get("last_parsed_time")),
    )


def read_run(raw: Mapping[str, Any]) -> Run:
    """A run of the API's."""
    return Run(
        dag_id=read_text(raw.get("dag_id"), 250),
        run_id=read_text(raw.get("dag_run_id")),
        state=read_text(raw.get("state"), 40) or "queued",
        start=read_time(raw.get("start_date")),
        end=read_time(raw.get("end_date")),
        logical=read_time(raw.get("logical_date")),
    )


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def read_task_instance(raw: Mapping[str, Any]) -> TaskInstance:
    """A task instance of the API's."""
    return TaskInstance(
        task_id=read_text(raw.get("task_id"), 250),
        map_index=_number(raw.get("map_index"), -1),
        state=read_text(raw.get("state"), 40) or "none",
        try_number=_number(raw.get("try_number"), 0),
        operator=read_text(raw.get("operator"), 200),
        start=read_time(raw.get("start_date")),
        end=read_time(raw.get("end_date")),
        host=read_text(raw.get("hostname"), 250),
    )


def read_backfill(raw: Mapping[str, Any]) -> Backfill:
    """A backfill of the API's."""
    return Backfill(_number(raw.get("id"), 0), complete=bool(raw.get("completed_at")))


def last_line(trace: str) -> str:
    """The last line of a traceback: the exception's type and message."""
    lines = [line for line in trace.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


_HOMES = ("/opt/airflow", "/.devenv/airflow")
"""Airflow's home in a pod, and on the local backend below the project's folder."""


def dag_path(file: str) -> str:
    """A path where Airflow runs as the verdicts name it, from the DAG folder's name on: `dags/team/etl.py`."""
    for home in _HOMES:  # a folder above the project, or a team's below the DAG folder, may be called dags too
        _before, found, after = file.partition(f"{home}/dags/")
        if found:
            return f"dags/{after}"
    before, found, after = file.partition("/dags/")
    return f"dags/{after}" if found else before
