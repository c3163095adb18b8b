"""`devenv pytest`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.context import backend_from, console, project_from, reporter_from
from devenv.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from devenv.tasks.model import RunEvent
    from devenv.tasks.session import TaskSession

CONTEXT = {"ignore_unknown_options": True, "allow_interspersed_args": False}


_WIDEST = 120
"""Columns; where the output is no terminal, it has any number."""


class TestsNeedLocalAirflow(UsageError):
    """`devenv pytest` runs tests with the Airflow of the local backend; in a cluster it would not see your folder.

    pytest alone runs the same tests wherever Airflow and devenv are installed: the fixtures are devenv's plugin.
    """

    code = "DEVENV-746"
    __test__ = False  # no test of pytest's


def command(
    *,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGUMENTS]", help="pytest's own arguments.")
    ] = None,
) -> None:
    """Runs the project's tests with its own Airflow, from a process that has it loaded.

    Fixtures, the same for every release: `dag_bag` (all DAG files, parsed once), `dag("id")`, `run_task("dag", "task",
    xcoms=…, params=…, connections=…, variables=…)` and `render("dag", "task")`. Nothing of a test reaches Airflow's
    database or Vault. All arguments are pytest's; its exit code is that of the command. `devenv init` writes a first
    test. It needs the environment of the local backend to be up; without one, plain `pytest` has the same fixtures
    where devenv is installed beside Airflow.

    Examples:
      devenv pytest
      devenv pytest tests/test_sales.py -k load -x
    """
    from devenv import dag_environment
    from devenv.agent.tasks.request import PytestRequest
    from devenv.logs.scrub import Scrubber
    from devenv.sync.roots import roots_of
    from devenv.tasks.packages import PYTEST, archive
    from devenv.tasks.session import TaskSession

    project = project_from()
    backend = backend_from(project)
    runner = backend.task_runner(reporter_from())
    if runner.forward is not None:
        raise TestsNeedLocalAirflow(
            "tests run with the Airflow of the local backend",
            hint="devenv up --backend local, or pytest where Airflow and devenv are installed",
        )
    out = console()
    color = ["--color=yes"] if out.out.interactive else []
    request = PytestRequest(
        str(project.folder),
        {root.name: str(root.folder) for root in roots_of(project)},
        (*color, *(arguments or ())),
        {**dag_environment.variables(project), "COLUMNS": str(min(out.renderer.width, _WIDEST))},
    )
    with contextlib.closing(TaskSession(runner)) as tasks:
        tasks.send(PYTEST.name, archive(PYTEST, project.environment))
        code = _follow(tasks, tasks.run(request), Scrubber(backend.known_secrets()))
    raise typer.Exit(code)


def _follow(tasks: TaskSession, events: Iterator[RunEvent], scrub: Callable[[str], str]) -> int:
    """Prints what pytest does, to its end; Ctrl-C ends it as it would in its own terminal."""
    from rich.text import Text

    from devenv.tasks.lines import Lines
    from devenv.tasks.model import Printed, RunEnded

    out, lines, code = console(), Lines(), int(ExitCode.FAILED)

    def show(texts: list[str]) -> None:
        for text in map(scrub, texts):
            out.record("pytest.output", {"text": text})
            out.print(Text.from_ansi(text))

    while True:
        try:
            event = next(events, None)
        except KeyboardInterrupt:
            tasks.interrupt()
            events = tasks.rest()
            continue
        if event is None:
            break
        if isinstance(event, Printed):
            show(lines.feed(event.data))
        elif isinstance(event, RunEnded):
            code = event.code
    show(lines.rest())
    return code
