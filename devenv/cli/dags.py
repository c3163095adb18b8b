"""`devenv dags`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from devenv.cli.context import backend_from, console, project_from, session

_STATES = {"success": "green", "failed": "red", "running": "cyan", "queued": "yellow"}


def command(
    *,
    broken: Annotated[bool, typer.Option("--broken", help="Only files that do not parse.")] = False,
) -> None:
    """Lists the DAGs with their schedule and last run, and the files that do not parse.

    Examples:
      devenv dags
    """
    from rich.text import Text

    from devenv.airflow.model import dag_path, last_line
    from devenv.record import broken_now

    project = project_from()
    client = backend_from(project).airflow()
    problems = client.import_errors()
    judged = broken_now(project, {dag_path(problem.file) for problem in problems})
    dags = () if broken else client.dags()
    last = {run.dag_id: run for run in reversed(client.runs(limit=100))} if dags else {}
    out, now = console(), session().environment.now()
    for dag in dags:
        run = last.get(dag.dag_id)
        out.record(
            "dag",
            {
                "dag_id": dag.dag_id,
                "file": dag.file,
                "paused": dag.paused,
                "broken": dag.broken,
                "schedule": dag.schedule,
                "next_run": dag.next_run,
                "owners": dag.owners,
                "tags": dag.tags,
                "last_run": {"run_id": run.run_id, "state": run.state, "start": run.start} if run else None,
            },
        )
    for problem in problems:
        out.record("import_error", {"file": problem.file, "trace": problem.trace, "at": problem.at})
    for verdict in judged:
        out.record("verdict", verdict.to_json())
    rows = []
    for dag in dags:
        run = last.get(dag.dag_id)
        state = "broken" if dag.broken else "paused" if dag.paused else "active"
        style = "red" if dag.broken else "dim" if dag.paused else "green"
        when = time.strftime("%a %H:%M", time.localtime(dag.next_run)) if dag.next_run > now and not dag.paused else ""
        rows.append(
            (
                dag.dag_id,
                Text(state, style),
                dag.schedule or "-",
                Text(run.state, _STATES.get(run.state, "")) if run else Text("-", "dim"),
                when,
            )
        )
    out.table(("dag", "state", "schedule", "last run", "next"), rows)
    if problems or judged:
        out.print(*([""] if rows else []), Text("files that are broken", "bold red"))
        told = [(dag_path(problem.file), last_line(problem.trace)) for problem in problems]
        for file, reason in [*told, *((verdict.file, verdict.reason) for verdict in judged)]:
            named = out.shown.path(file) if out.shown is not None else file
            out.print(Text.assemble("  ", named, (f"  {reason}", "dim")))
    if not dags and not problems and not judged:
        out.print("no DAG" if not broken else "every file parses")
