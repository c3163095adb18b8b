"""`devenv test`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.context import backend_from, console, project_from, reporter_from
from devenv.cli.in_step import bring_in_step
from devenv.cli.test_request import (
    Conf,
    Dag,
    FromStart,
    LogicalDate,
    MapIndex,
    RunId,
    Task,
    asked_of,
    refusal,
    request_of,
)
from devenv.errors import ExitCode

if TYPE_CHECKING:
    from devenv.agent.tasks.request import Request
    from devenv.backends.base import Backend
    from devenv.project import Project
    from devenv.tasks.triggers import Triggers


def command(
    *,
    dag: Dag,
    task: Task = None,
    run: RunId = "",
    from_start: FromStart = False,
    map_index: MapIndex = -1,
    date: LogicalDate = "",
    conf: Conf = "",
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
