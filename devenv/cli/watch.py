"""`devenv watch`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.context import backend_from, console, project_from
from devenv.events import Notice

if TYPE_CHECKING:
    from collections.abc import Callable

    from devenv.backends.base import Backend
    from devenv.project import Project


def command(
    *,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Carry out deletes that look like an accident without asking.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Use a DAG volume that another environment filled and no longer uses.")
    ] = False,
) -> None:
    """Watches the DAG folder of a running environment: each save is copied, parsed and judged.

    Ctrl-C ends the watch; the environment keeps running.

    Examples:
      devenv watch
      devenv watch -o json | jq 'select(.type == "devenv.verdict.reached").data'
    """
    project = project_from()
    watch(project, backend_from(project), yes=yes, take_over=take_over)


def watch(project: Project, backend: Backend, *, yes: bool, take_over: bool = False) -> None:
    """Watches until Ctrl-C, and says then what keeps running."""
    from devenv import watching

    out = console()
    out.notify(project.settings.terminal)
    try:
        watching.watch(project, backend, out.report, _asker(yes=yes), take_over=take_over)
    except KeyboardInterrupt:
        out.report(Notice("info", "the watch has ended; Airflow keeps running", "devenv watch, or devenv down"))
        raise


def _asker(*, yes: bool) -> Callable[[str], bool] | None:
    """Who answers the question about deletes: `--yes`, the person at the terminal, or nobody."""
    out = console()
    if yes:
        return lambda _question: True
    return out.confirm if out.can_ask else None
