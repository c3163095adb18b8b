"""`devenv test`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devenv.cli.completion import complete_dag, complete_task
from devenv.cli.context import backend_from, console, project_from, reporter_from, session
from devenv.cli.in_step import bring_in_step
from devenv.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devenv.agent.tasks.request import Request
    from devenv.backends.base import Backend
    from devenv.errors import DevenvError
    from devenv.project import Project
    from devenv.tasks.model import RunRefused
    from devenv.tasks.triggers import Triggers


def command(
    *,
    dag: Annotated[str, typer.Argument(metavar="DAG", help="The DAG's id.", autocompletion=complete_dag)],
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK",
            help="Only this task, with what came before it in the latest run.",
            autocompletion=complete_task,
        ),
    ] = None,
    run: Annotated[
        str, typer.Option("--run", metavar="RUN", help="The run whose date, configuration and XComs the task gets.")
    ] = "",
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Run what comes before the task first, in a run of its own.")
    ] = False,
    map_index: Annotated[
        int, typer.Option("--map-index", metavar="N", help="Only this one of a mapped task; without it, all.")
    ] = -1,
    date: Annotated[str, typer.Option(metavar="DATE", help="The logical date; without it, now or the run's.")] = "",
    conf: Annotated[
        str,
        typer.Option(metavar="JSON", help="The run's configuration: a JSON object, @FILE, or - for standard input."),
    ] = "",
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Run again at each save that parses; a run in progress is ended.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="End the run after this long.", min=1.0, max=86_400.0)
    ] = 3_600.0,
) -> None:
    """Runs a DAG, or one task of it, once: at once, without the scheduler and its executor, and without a trace.

    The files are taken as they were saved last. Each task is tried once; its lines come as it writes them, then its
    state, its XComs, and its error with the place in your code. With -v, also what Airflow says of its own work. The
    run has a database of its own, so that nothing of it is left in Airflow. Where the code says `breakpoint()`, pdb
    opens in this terminal. Exit code 1 when a task fails, 130 after Ctrl-C.

    Examples:
      devenv test sales
      devenv test sales load
      devenv test sales load --watch
      devenv test sales load --from-start --date 2026-01-31
    """
    asked = asked_of(dag, task, run=run, from_start=from_start, map_index=map_index, date=date, conf=conf)
    project = project_from()
    backend = backend_from(project)
    bring_in_step(project, backend)
    request = request_of(project, dag, task or "", terminal=console().can_ask and not watch, **asked)
    if watch:
        run_at_each_save(project, backend, request, seconds=timeout)
        return
    raise typer.Exit(run_once(backend, request, seconds=timeout))


def asked_of(
    dag: str, task: str | None, *, run: str, from_start: bool, map_index: int, date: str, conf: str
) -> dict[str, Any]:
    """The fields of `Request` that flags give.

    Raises:
        UsageError: they do not go together, or one of them cannot be read.
    """
    from devenv.airflow.runs import parse_date
    from devenv.cli.run import read_conf
    from devenv.errors import UsageError

    if (run or from_start or map_index >= 0) and not task:
        raise UsageError("--run, --from-start and --map-index are for one task", hint=f"devenv test {dag} TASK")
    if run and from_start:
        raise UsageError("--run takes what a run has pushed, and --from-start makes a new run", hint="name one of them")
    return {
        "run_id": run,
        "from_start": from_start,
        "map_index": map_index,
        "date": parse_date(date, "--date").isoformat() if date else "",
        "conf": read_conf(conf) if conf else None,
    }


def request_of(project: Project, dag_id: str, task_id: str, **asked: Any) -> Request:
    """What a project's DAG needs to run, with whatever else of `Request` is asked."""
    from devenv import dag_environment
    from devenv.agent.tasks.request import Request
    from devenv.airflow import runs
    from devenv.journal import files_that_make

    files = [*files_that_make(project.state_folder, dag_id)]
    files += [f"dags/{name}" for name in runs.files_naming(project.dag_folder, dag_id) if name.endswith(".py")]
    return Request(
        dag_id,
        task_id,
        files=tuple(dict.fromkeys(files)),
        variables=dag_environment.variables(project),
        verbose=session().verbose > 0,
        vault_mount=project.settings.vault.mount,
        **asked,
    )


def run_once(backend: Backend, request: Request, *, seconds: float) -> int:
    """Runs once and prints what happens; returns the exit code."""
    from devenv.cli.test_screen import Screen
    from devenv.logs.scrub import Scrubber
    from devenv.tasks.session import TaskSession

    screen = Screen(console(), request, Scrubber(backend.known_secrets()))
    with contextlib.closing(TaskSession(backend.task_runner(reporter_from()))) as tasks:
        code = screen.follow(tasks, seconds=seconds)
    if screen.refused is not None:
        raise refusal(request, screen.refused)
    return code


def run_at_each_save(project: Project, backend: Backend, request: Request, *, seconds: float) -> None:
    """Runs now and at each save that parses, until Ctrl-C; beside a watch that runs, or with one of its own."""
    from devenv.cli.test_screen import Screen
    from devenv.events import Notice
    from devenv.logs.scrub import Scrubber
    from devenv.tasks.session import TaskSession
    from devenv.tasks.triggers import Triggers

    out = console()
    scrub = Scrubber(backend.known_secrets())
    with Triggers(project, backend, request.dag_id, request.files) as triggers:
        while True:
            screen = Screen(out, request, scrub)
            # Each run has a session of its own: with the packages, options and secrets that there are by then.
            with contextlib.closing(TaskSession(backend.task_runner(out.report))) as tasks:
                if screen.follow(tasks, seconds=seconds, overtaken=triggers.waiting) == ExitCode.INTERRUPTED:
                    raise KeyboardInterrupt
            if screen.file:
                triggers.files.add(screen.file)
            if screen.refused is not None:
                error = refusal(request, screen.refused)
                out.report(Notice("error", error.message, error.hint or ""))
            if not triggers.waiting():
                out.report(Notice("info", "waiting for a save; Ctrl-C ends"))
            _wait_for_good(triggers)


def _wait_for_good(triggers: Triggers) -> None:
    """Waits for a verdict on a file that parses, showing what is wrong with one that does not."""
    out = console()
    while True:
        verdict = triggers.next()
        if verdict is None or verdict.ok:
            return
        for problem in verdict.problems:
            if problem.severity == "error":
                out.problem(problem)


def refusal(request: Request, refused: RunRefused) -> DevenvError:
    """The error of a run that could not begin, with the nearest name where one was mistyped."""
    import difflib

    from devenv.airflow.client import DagBroken
    from devenv.tasks.errors import NothingToTest

    if refused.reason == "broken":
        return DagBroken(f"{refused.message}, so {request.dag_id} cannot run", hint=f"devenv check {refused.file}")
    asked = request.task_id if refused.reason == "task" else request.dag_id
    near: Sequence[str] = difflib.get_close_matches(asked, refused.known, 1)
    if near:
        words = ["devenv", "test", near[0]] if refused.reason == "dag" else ["devenv", "test", request.dag_id, near[0]]
        return NothingToTest(refused.message, hint=" ".join(words))
    if refused.reason == "task" and refused.known:
        return NothingToTest(refused.message, hint=f"one of {', '.join(refused.known[:12])}")
    hint = f"devenv test {request.dag_id} {request.task_id} --from-start" if request.task_id else "devenv dags"
    return NothingToTest(refused.message, hint=hint)
