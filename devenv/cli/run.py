"""`devenv run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from devenv.airflow.client import ConfRefused
from devenv.cli.completion import complete_dag
from devenv.cli.context import backend_from, console, project_from, reporter_from, session
from devenv.cli.in_step import bring_in_step_if_possible
from devenv.events import Notice


def command(
    *,
    dag: Annotated[str, typer.Argument(metavar="DAG", help="The DAG's id.", autocompletion=complete_dag)],
    conf: Annotated[
        str,
        typer.Option(metavar="JSON", help="The run's configuration: a JSON object, @FILE, or - for standard input."),
    ] = "",
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Until the run is finished; exit code 1 if it fails.")
    ] = False,
    logs: Annotated[bool, typer.Option("--logs", "-l", help="As --wait, printing the tasks' logs.")] = False,
) -> None:
    """Runs a DAG now. A paused DAG is unpaused; one that was saved just now is waited for.

    Where nothing watches the DAG folder, it is synced first.

    Examples:
      devenv run taskflow_example --wait
      devenv run sales --conf '{"day": "2026-01-31"}' --logs
    """
    from devenv.airflow import runs
    from devenv.journal import files_that_make
    from devenv.logs.scrub import Scrubber

    project = project_from()
    configuration = read_conf(conf)
    backend = backend_from(project)
    report = reporter_from()
    client = backend.airflow()
    bring_in_step_if_possible(project, backend)
    scrub = Scrubber(backend.known_secrets())

    def files() -> list[str]:
        return [*runs.files_naming(project.dag_folder, dag), *files_that_make(project.state_folder, dag)]

    run = runs.start_run(client, dag, configuration, files, report)
    console().record("run.started", {"dag_id": dag, "run_id": run.run_id})
    if not (wait or logs):
        console().print(f"{dag} runs as {run.run_id}")
        report(Notice("info", "to see its tasks", hint=f"devenv logs {dag} -f --run {run.run_id}"))
        return
    if logs:
        from devenv.cli.logs import print_task_lines
        from devenv.logs.task import TaskLogQuery, task_logs

        print_task_lines(task_logs(backend, TaskLogQuery(dag, run_id=run.run_id, follow=True), scrub=scrub))
        progress = client.progress(dag, run.run_id)
    else:
        progress = runs.follow_run(client, run, report, backend.explain_task)
    console().record(
        "run.finished",
        {
            "dag_id": dag,
            "run_id": run.run_id,
            "state": progress.run.state,
            "tasks": [
                {"task_id": task.task_id, "map_index": task.map_index, "state": task.state, "tries": task.try_number}
                for task in progress.tasks
            ],
        },
    )
    runs.check_success(client, progress, scrub, backend.explain_task)
    seconds = progress.run.end - progress.run.start if progress.run.end and progress.run.start else 0.0
    console().print(f"{dag} succeeded in {seconds:.1f} s")


def read_conf(text: str) -> dict[str, Any]:
    """The object that `--conf` gives: in place, in a file (`@run.json`), or on standard input (`-`)."""
    if not text:
        return {}
    environment = session().environment
    try:
        if text == "-":
            text = environment.stdin.read()
        elif text.startswith("@"):
            text = (environment.cwd / Path(text[1:])).read_text(encoding="utf-8")
        found = json.loads(text)
    except OSError as error:
        raise ConfRefused(f"--conf: {error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise ConfRefused(f"--conf is not JSON: {error}", hint='--conf \'{"key": "value"}\'') from error
    if not isinstance(found, dict):
        raise ConfRefused("--conf must be a JSON object", hint='--conf \'{"key": "value"}\'')
    return found
