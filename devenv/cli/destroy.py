"""`devenv destroy`."""

from __future__ import annotations

from typing import Annotated

import typer

from devenv.cli.context import backend_from, console, project_from
from devenv.errors import ExitCode, RefusedError
from devenv.events import Notice


class StillWatched(RefusedError):
    """`devenv destroy` does not pull the environment away from under a running watch. End the watch first."""

    code = "DEVENV-105"


def command(
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the secrets that you set, too.")] = False,
) -> int:
    """Removes the environment with all its data; asks first.

    Only what devenv made for this project is removed, and the list of it is shown first. Your own files stay, and so
    do the secrets that you set (`devenv secrets`), for the next environment of this folder, unless you say --purge.

    Examples:
      devenv destroy --dry-run     what would be removed
      devenv destroy --yes         without a question
      devenv destroy --purge       nothing of this project is left on this machine
    """
    import shutil

    from devenv.boot.runner import run_steps
    from devenv.settings.remembered import forget
    from devenv.sync.lock import holder

    project = project_from()
    backend = backend_from(project, needs_running=False)
    out = console()
    things = list(backend.destroys())
    if purge and project.data_folder.is_dir():
        things.append(f"the secrets that you set, and what devenv remembers of this folder: {project.data_folder}")
    if not things:
        out.report(Notice("info", "there is nothing to remove"))
        return ExitCode.OK
    out.print("This would be removed:" if dry_run else "This will be removed:", *(f"  {thing}" for thing in things))
    out.record("destroys", {"things": things})
    if dry_run:
        return ExitCode.OK
    if (watcher := holder(project.state_folder)) is not None:
        raise StillWatched(f"process {watcher.pid} watches this project", hint="Ctrl-C in its terminal ends it")
    if not out.confirm("Remove all of it?", yes=yes):
        out.report(Notice("info", "nothing was removed"))
        return ExitCode.REFUSED
    run_steps(backend.destroy_steps(), out.report)
    forget(project.data_folder)
    if purge:
        shutil.rmtree(project.data_folder, ignore_errors=True)
    out.report(Notice("info", "removed"))
    return ExitCode.OK
