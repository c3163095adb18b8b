"""`devenv rerun`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.completion import complete_dag, complete_task
from devenv.cli.context import backend_from, console, project_from, reporter_from
from devenv.cli.in_step import bring_in_step_if_possible
from devenv.errors import UsageError
from devenv.events import Notice

if TYPE_CHECKING:
    from devenv.airflow.client import AirflowClient
    from devenv.airflow.model import Run
    from devenv.backends.base import Backend

_FAILED = ("failed", "upstream_failed")
_RUNS = 100


class NothingFailed(UsageError):
    """Nothing has failed, so `devenv rerun` has nothing to run again. Name the DAG and the task."""

    code = "DEVENV-743"


def command(
    *,
    dag: Annotated[
        str | None,
        typer.Argument(metavar="DAG", help="The DAG's id; without it, what failed last.", autocompletion=complete_dag),
    ] = None,
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK", help="The task; without it, what failed in the run.", autocompletion=complete_task
        ),
    ] = None,
    run: Annotated[str, typer.Option("--run", metavar="RUN", help="The run; without it, the latest.")] = "",
    only: Annotated[bool, typer.Option("--only", help="Without what follows the task.")] = False,
    upstream: Annotated[bool, typer.Option("--upstream", help="Also what comes before the task.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would run again.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again at each save that parses.")] = False,
) -> None:
    """Runs tasks again in the run that they belong to, with what follows them, and follows them to their end.

    It does what Clear does on Airflow's page: the run goes on with the DAG file as it was saved last, and the scheduler
    and its executor run the tasks. Exit code 1 when one fails.

    Examples:
      devenv rerun
      devenv rerun sales
      devenv rerun sales load --only --watch
    """
    project = project_from()
    backend = backend_from(project)
    client = backend.airflow()
    if not dry_run:
        bring_in_step_if_possible(project, backend)
    found, tasks = _what(client, dag, task, run)
    if dry_run:
        listed = client.clear(found.dag_id, found.run_id, tasks, upstream=upstream, downstream=not only, rehearse=True)
        console().record("rerun.planned", {"dag_id": found.dag_id, "run_id": found.run_id, "tasks": list(listed)})
        console().print(f"{found.dag_id}  run {found.run_id}", *(f"  {name}" for name in listed))
        return
    if not watch:
        _again(backend, client, found, tasks, upstream=upstream, downstream=not only)
        return
    from devenv.errors import DevenvError
    from devenv.journal import files_that_make
    from devenv.tasks.triggers import Triggers

    with Triggers(project, backend, found.dag_id, files_that_make(project.state_folder, found.dag_id)) as triggers:
        while True:
            try:
                _again(backend, client, found, tasks, upstream=upstream, downstream=not only)
            except DevenvError as error:
                console().report(Notice("error", error.message, error.hint or ""))
            console().report(Notice("info", "waiting for a save; Ctrl-C ends"))
            while (verdict := triggers.next()) is None or not verdict.ok:
                if verdict is not None:
                    console().report(Notice("warning", f"{verdict.file} does not parse"))


def _what(client: AirflowClient, dag: str | None, task: str | None, run_id: str) -> tuple[Run, list[str]]:
    """The run, and the tasks in it, that are meant."""
    run: Run | None
    if dag is None:
        run = next((each for each in client.runs(limit=_RUNS) if each.state == "failed"), None)
        if run is None:
            raise NothingFailed(f"none of the latest {_RUNS} runs has failed", hint="devenv rerun DAG TASK")
    else:
        run = client.run(dag, run_id) if run_id else client.latest_run(dag)
        if run is None:
            raise NothingFailed(f"{dag} has no run yet", hint=f"devenv run {dag}")
    if task is not None:
        return run, [task]
    # Tasks that failed because one before them did follow it, and so are cleared with it.
    failed = [each.task_id for each in client.task_instances(run.dag_id, run.run_id) if each.state == "failed"]
    tasks = list(dict.fromkeys(failed))
    if not tasks:
        raise NothingFailed(
            f"no task of the run {run.run_id} of {run.dag_id} has failed", hint=f"devenv rerun {run.dag_id} TASK"
        )
    return run, tasks


def _again(
    backend: Backend, client: AirflowClient, run: Run, tasks: list[str], *, upstream: bool, downstream: bool
) -> None:
    from devenv.airflow import runs
    from devenv.logs.scrub import Scrubber

    out, report = console(), reporter_from()
    cleared = client.clear(run.dag_id, run.run_id, tasks, upstream=upstream, downstream=downstream, rehearse=False)
    client.unpause(run.dag_id)
    out.print(f"{run.dag_id}  run {run.run_id}: {', '.join(cleared)} again")
    out.record("rerun.started", {"dag_id": run.dag_id, "run_id": run.run_id, "tasks": list(cleared)})
    progress = runs.follow_run(client, run, report, backend.explain_task, tasks=cleared)
    states = [
        {"task_id": each.task_id, "map_index": each.map_index, "state": each.state, "tries": each.try_number}
        for each in progress.tasks
        if each.task_id in cleared
    ]
    out.record("rerun.finished", {"dag_id": run.dag_id, "run_id": run.run_id, "tasks": states})
    if any(each["state"] in _FAILED for each in states):
        runs.check_success(client, progress, Scrubber(backend.known_secrets()), backend.explain_task, cleared)
    out.print(f"{', '.join(cleared)} succeeded")
