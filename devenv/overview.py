"""What there is to say about an environment at one moment, asked of the real things, all at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from devenv.errors import DevenvError
from devenv.sync.lock import Holder, holder

if TYPE_CHECKING:
    from devenv.airflow.client import Dag, Heartbeat, ImportProblem, Run
    from devenv.backends.base import Backend, EnvironmentStatus
    from devenv.project import Project
    from devenv.vault.staleness import StalePod

_RUNS = 5


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


def look(project: Project, backend: Backend) -> Overview:
    """Asks the backend and Airflow at the same time.

    Raises:
        DevenvError: the backend itself cannot be asked; that Airflow does not answer is part of the overview.
    """
    with ThreadPoolExecutor(6, thread_name_prefix="overview") as pool:
        status = pool.submit(backend.status)
        stale = pool.submit(backend.stale_secrets)
        answers: list[Any] = [(), (), (), {}]
        silent = ""
        try:
            airflow = backend.airflow()
            asked = [
                pool.submit(question)
                for question in (airflow.dags, airflow.import_errors, lambda: airflow.runs(limit=_RUNS), airflow.health)
            ]
            answers = [each.result() for each in asked]
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
        )
