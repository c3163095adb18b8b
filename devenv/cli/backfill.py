"""`devenv backfill`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from devenv.cli.completion import complete_dag
from devenv.cli.context import backend_from, console, project_from, reporter_from
from devenv.cli.in_step import bring_in_step_if_possible
from devenv.errors import ExitCode


def command(
    *,
    dag: Annotated[str, typer.Argument(metavar="DAG", help="The DAG's id.", autocompletion=complete_dag)],
    start: Annotated[str, typer.Option("--from", metavar="DATE", help="The first date: 2026-01-01.")],
    end: Annotated[str, typer.Option("--to", metavar="DATE", help="The last date, included.")],
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Also run again what is there already; otherwise only what is missing.")
    ] = False,
) -> int:
    """Runs a DAG for a span of dates and waits; exit code 1 if a run fails.

    Airflow 3 makes the runs itself, and goes on if devenv is ended. Airflow 2 has no API for it: `airflow dags
    backfill` runs beside the scheduler for as long as devenv does.

    Examples:
      devenv backfill sales --from 2026-01-01 --to 2026-01-31
    """
    from devenv.airflow import runs
    from devenv.airflow.client import BackfillRefused

    first, last = runs.parse_date(start, "--from"), runs.parse_date(end, "--to")
    if last < first:
        raise BackfillRefused(f"--to {end} is before --from {start}")
    project = project_from()
    backend = backend_from(project)
    client = backend.airflow()
    bring_in_step_if_possible(project, backend)
    found = client.dag(dag)  # a typo is answered at once, not by a program that takes seconds to start
    if found.broken:
        raise client.broken(dag)
    if client.major == 2:
        from devenv.cli.attached import run_inside

        again = ["--reset-dagruns", "--yes"] if rerun else ["--rerun-failed-tasks"]
        dates = ["--start-date", first.isoformat(), "--end-date", last.isoformat()]
        return run_inside(backend, "scheduler", ["airflow", "dags", "backfill", *dates, *again, dag])
    if found.paused:
        client.unpause(dag)
    reprocess: Literal["completed", "failed"] = "completed" if rerun else "failed"
    backfill = client.create_backfill(dag, first, last, reprocess=reprocess)
    made = runs.follow_backfill(client, dag, backfill, first, last, report=reporter_from())
    for run in made:
        console().record("run.finished", {"dag_id": dag, "run_id": run.run_id, "state": run.state})
    failed = [run for run in made if run.state == "failed"]
    if failed:
        raise runs.RunFailed(
            f"{len(failed)} of {len(made)} runs of {dag} failed, the first is {failed[0].run_id}",
            hint=f"devenv logs {dag} --run {failed[0].run_id}",
        )
    console().print(f"{len(made)} runs of {dag} succeeded")
    return ExitCode.OK
