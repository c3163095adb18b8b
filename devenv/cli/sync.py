"""`devenv sync`."""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.context import backend_from, console, project_from
from devenv.errors import PlatformError, UsageError
from devenv.events import Notice

if TYPE_CHECKING:
    from devenv.project import Project
    from devenv.sync.loop import Result


class SyncInterrupted(PlatformError):
    """The session to the DAG volume broke while `devenv sync` used it. Running it again goes on from there."""

    code = "DEVENV-525"


class CheckOrRehearse(UsageError):
    """`--check` and `--dry-run` exclude each other: one only answers, the other lists."""

    code = "DEVENV-526"


def command(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be sent and deleted.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when the volume differs from the folder.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Carry out deletes that look like an accident without asking.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Use a DAG volume that another environment filled and no longer uses.")
    ] = False,
) -> None:
    """Brings the DAG volume in step with the DAG folder once; exit 0 when it is, 1 when it is not.

    Beside a running watch, which does the same all the time, it says whether that has the volume; `--yes` lets through
    the deletes that the watch holds.

    Examples:
      devenv sync
      devenv sync --dry-run
      devenv sync --check || echo "the volume is behind"
    """
    from devenv.sync.guard import leave_word
    from devenv.sync.lock import WatchLock, holder
    from devenv.sync.loop import SyncLoop
    from devenv.sync.model import TargetLost
    from devenv.sync.plugins import note_synced
    from devenv.sync.roots import require_dag_folder

    if check and dry_run:
        raise CheckOrRehearse("--check and --dry-run exclude each other", hint="devenv sync --dry-run")
    project = project_from()
    require_dag_folder(project)
    out = console()
    watcher = holder(project.state_folder)
    if watcher is not None and yes:
        leave_word(project.state_folder)
        out.report(Notice("info", f"confirmed: the watch (process {watcher.pid}) now applies its pending deletes"))
        return
    if watcher is not None and not (check or dry_run):
        _ask_watch(project, watcher.pid)
        return
    with WatchLock(project.make_state_folder(), project.environment.now):
        ask = (lambda _question: True) if yes else out.confirm if out.can_ask else None
        opened = functools.partial(backend_from(project).open_target, take_over=take_over)
        loop = SyncLoop(project, opened, out.report, confirm_deletes=ask)
        try:
            result = loop.once(rehearse=check or dry_run)
        except TargetLost as error:
            raise SyncInterrupted(str(error), hint="devenv sync") from error
    if result.in_step and not (check or dry_run) and note_synced(project):
        backend_from(project).reconcile(out.report)
    _print(result, rehearsed=check or dry_run)
    if not result.in_step and not dry_run:
        raise typer.Exit(1)


def _ask_watch(project: Project, pid: int) -> None:
    """A watch runs, and does what this command would: says so, where it has the volume.

    Raises:
        SyncInterrupted: it has lost the volume, and is trying to reach it again.
    """
    from devenv.journal import JournalReader, journal_file
    from devenv.record import Record

    record = Record()
    for line in JournalReader(journal_file(project.state_folder)).fresh()[1]:
        record.take(line)
    if record.connection:
        raise SyncInterrupted(
            f"the watch (process {pid}) has lost the DAG volume: {record.connection.get('reason')}",
            hint="devenv status",
        )
    console().record("sync.watched", {"pid": pid})
    console().print(f"the watch (process {pid}) brings each change to the volume at once")


def _print(result: Result, *, rehearsed: bool) -> None:
    out = console()
    out.record(
        "sync.finished",
        {
            "in_step": result.in_step,
            "files": result.files,
            "changes": [asdict(change) for change in result.changes] if rehearsed else len(result.changes),
            "failed": result.failed,
        },
    )
    if rehearsed:
        out.table(
            ("change", "file"),
            [(c.change, f"{c.previous} → {c.path}" if c.previous else c.path) for c in result.changes],
        )
    count = len(result.changes)
    changes = "1 change" if count == 1 else f"{count} changes"
    if rehearsed:
        out.print("in step" if result.in_step else f"not in step: {changes} to files")
    else:
        files = "1 file" if result.files == 1 else f"{result.files} files"
        out.print(f"{'in step' if result.in_step else 'not in step'}: {files}, {changes}")
