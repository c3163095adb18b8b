"""What commands that run something do first, where nothing watches the DAG folder."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from devenv.cli.context import console
from devenv.errors import DevenvError
from devenv.events import Notice

if TYPE_CHECKING:
    from devenv.backends.base import Backend
    from devenv.project import Project


def bring_in_step(project: Project, backend: Backend) -> None:
    """Syncs once where no watch does: what runs is what was saved last.

    Raises:
        DevenvError: the DAG folder is not there, or cannot be synced.
    """
    from devenv.sync.lock import AlreadyWatched, WatchLock, holder
    from devenv.sync.loop import SyncLoop
    from devenv.sync.model import TargetLost
    from devenv.sync.roots import require_dag_folder
    from devenv.tasks.errors import TaskProcessFailed

    require_dag_folder(project)
    if holder(project.state_folder) is not None:
        return
    out = console()
    opened = functools.partial(backend.open_target, verdicts=False)
    try:
        with WatchLock(project.make_state_folder(), project.environment.now):
            SyncLoop(project, opened, lambda _event: None, confirm_deletes=out.confirm if out.can_ask else None).once()
    except AlreadyWatched:
        return  # a watch began just now
    except TargetLost as error:
        raise TaskProcessFailed(f"the DAG folder cannot be synced: {error}", hint="devenv sync") from error


def bring_in_step_if_possible(project: Project, backend: Backend) -> None:
    """As `bring_in_step`; where that fails, a warning says so, since Airflow can run what it has."""
    try:
        bring_in_step(project, backend)
    except DevenvError as error:
        console().report(Notice("warning", f"Airflow runs what it has: {error.message}", error.hint or ""))
