"""What there is to say about an environment at one moment, asked of the real things, all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from devenv.airflow.client import RunUnknown
from devenv.errors import DevenvError
from devenv.sync.lock import Holder, holder

if TYPE_CHECKING:
    from devenv.airflow.client import AirflowClient
    from devenv.airflow.model import Dag, Heartbeat, ImportProblem, Run
    from devenv.backends.base import Backend, EnvironmentStatus
    from devenv.project import Project
    from devenv.vault.staleness import StalePod
    from devenv.verdict import Verdict

_RUNS = 5
_TASKS = 10
"""How many tasks are asked about."""
_RECENT_SECONDS = 600.0
_CONCERNED = ("queued", "running", "up_for_retry", "failed")


@dataclass(frozen=True)
class TaskTrouble:
    """Why a task does not run, or what ended it from outside.

    Attributes:
        dag_id, run_id: of its run.
        task: `load`, or `load[3]` of a mapped task.
        text: the reason.
        hint: what to do, or "".
    """

    dag_id: str
    run_id: str
    task: str
    text: str
    hint: str = ""


@dataclass(frozen=True)
class Overview:
    """An environment as it is now.

    Attributes:
        status: components, URLs, versions.
        watcher: who watches the DAG folder, or None.
        dags: how many DAGs there are in each state: "active", "paused", "broken".
        broken: files that the scheduler cannot parse.
        runs: the runs that were made last.
        heartbeats: Airflow's own word on its parts.
        silent: why Airflow itself could not be asked, or "".
        stale: pods (or local processes) that run with secrets which have changed since, and which.
        listed: the DAGs themselves.
        troubles: tasks of the latest runs that do not run, or were ended from outside.
        judged: files that the watch holds for broken, and the scheduler does not; see `with_judged`.
    """

    status: EnvironmentStatus
    watcher: Holder | None = None
    dags: Mapping[str, int] = field(default_factory=dict)
    broken: tuple[ImportProblem, ...] = ()
    runs: tuple[Run, ...] = ()
    heartbeats: Mapping[str, Heartbeat] = field(default_factory=dict)
    silent: str = ""
    stale: tuple[StalePod, ...] = ()
    listed: tuple[Dag, ...] = ()
    troubles: tuple[TaskTrouble, ...] = ()
    judged: tuple[Verdict, ...] = ()


def look(project: Project, backend: Backend) -> Overview:
    """Asks the backend and Airflow at the same time.

    Raises:
        DevenvError: the backend itself cannot be asked; that Airflow does not answer is part of the overview.
    """
    with ThreadPoolExecutor(6, thread_name_prefix="overview") as pool:
        status = pool.submit(backend.status)
        stale = pool.submit(backend.stale_secrets)
        answers: list[Any] = [(), (), (), {}]
        troubles: tuple[TaskTrouble, ...] = ()
        silent = ""
        try:
            airflow = backend.airflow()
            asked = [
                pool.submit(question)
                for question in (airflow.dags, airflow.import_errors, lambda: airflow.runs(limit=_RUNS), airflow.health)
            ]
            answers = [each.result() for each in asked]
            troubles = tuple(_troubles(backend, airflow, answers[2], project.environment.now()))
            airflow.close()
        except DevenvError as error:
            silent = error.message
        dags, broken, runs, heartbeats = answers
        return Overview(
            status=status.result(),
            watcher=holder(project.state_folder),
            dags=dict(Counter("broken" if dag.broken else "paused" if dag.paused else "active" for dag in dags)),
            broken=broken,
            runs=runs,
            heartbeats=heartbeats,
            silent=silent,
            stale=tuple(stale.result()),
            listed=tuple(dags),
            troubles=troubles,
        )


def with_judged(project: Project, overview: Overview) -> Overview:
    """Adds what the watch's journal says; the page, which follows the journal anyway, does without."""
    from devenv.airflow.model import dag_path
    from devenv.record import broken_now

    known = {dag_path(problem.file) for problem in overview.broken}
    return replace(overview, judged=tuple(broken_now(project, known)))


def _troubles(backend: Backend, airflow: AirflowClient, runs: Sequence[Run], now: float) -> Iterator[TaskTrouble]:
    """The tasks of runs that are on, or failed just now, whose reason Airflow's log does not have."""
    from devenv.airflow.runs import key_of

    left = _TASKS
    for run in runs:
        if run.finished and (run.state != "failed" or now - run.end > _RECENT_SECONDS):
            continue
        with suppress(RunUnknown):  # it was deleted meanwhile
            for task in airflow.task_instances(run.dag_id, run.run_id):
                if left and task.state in _CONCERNED:
                    left -= 1
                    text, hint = backend.explain_task(key_of(run, task))
                    if text:
                        yield TaskTrouble(run.dag_id, run.run_id, task.label, text, hint)
