"""`devenv debug`."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from devenv.cli.context import backend_from, console, project_from, reporter_from
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

if TYPE_CHECKING:
    from devenv.backends.base import TaskRunner
    from devenv.editors.attach import Attachment

PORT = 5678
"""debugpy's own default."""


def command(
    *,
    dag: Dag,
    task: Task = None,
    editor: Annotated[
        Literal["vscode", "pycharm", "zed", "nvim"] | None,
        typer.Option(help="Write this editor's launch configuration into the project, and say what to press."),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", help="Where the editor attaches, on 127.0.0.1.", min=1, max=65_535)
    ] = PORT,
    run: RunId = "",
    from_start: FromStart = False,
    map_index: MapIndex = -1,
    date: LogicalDate = "",
    conf: Conf = "",
) -> None:
    """Runs a DAG, or one task of it, under debugpy: it waits for your editor to attach, then stops at its breakpoints.

    It is the run of `devenv test`, with nothing changed in the DAG and nothing built into the image: debugpy is sent to
    where the task runs, in a pod too. The port is on 127.0.0.1 alone. Breakpoints may be anywhere in dags/, plugins/
    and what else is synced. Without an editor, `breakpoint()` in the code opens pdb in the terminal of `devenv test`.

    Examples:
      devenv debug sales load --editor vscode
      devenv debug sales load --run manual__2026-01-31T00:00:00+00:00
      devenv debug sales --port 5679
    """
    from devenv.cli.in_step import bring_in_step
    from devenv.cli.test_screen import Screen
    from devenv.editors.attach import Attachment, prepare
    from devenv.logs.scrub import Scrubber
    from devenv.sync.roots import roots_of
    from devenv.tasks.packages import DEBUGPY, archive
    from devenv.tasks.session import TaskSession

    asked = asked_of(dag, task, run=run, from_start=from_start, map_index=map_index, date=date, conf=conf)
    project = project_from()
    backend = backend_from(project)
    _require_free(port)
    bring_in_step(project, backend)
    runner = backend.task_runner(reporter_from())
    mappings = {root.folder: runner.folders[root.name] for root in roots_of(project)}
    attachment = Attachment(port, project.folder, mappings)
    how = prepare(editor, attachment) if editor is not None else ""
    listens = 0 if runner.forward is not None else port
    request = request_of(project, dag, task or "", debug=True, debug_port=listens, **asked)
    screen = Screen(console(), request, Scrubber(backend.known_secrets()))
    with contextlib.ExitStack() as stack:
        tasks = stack.enter_context(contextlib.closing(TaskSession(runner)))
        tasks.send(DEBUGPY.name, archive(DEBUGPY, project.environment))
        screen.on_debugger = lambda there: _say_where(stack, runner, there, attachment, how)
        code = screen.follow(tasks, seconds=math.inf)
    if screen.refused is not None:
        raise refusal(request, screen.refused)
    raise typer.Exit(code)


def _require_free(port: int) -> None:
    """Refuses a port that something else uses: the editor would attach to that.

    Raises:
        DebugPortTaken: it is used.
    """
    from devenv import ports
    from devenv.tasks.errors import DebugPortTaken

    if not ports.is_free(port):
        raise DebugPortTaken(
            f"port {port} of 127.0.0.1 is used{ports.holder(port)}, perhaps by another `devenv debug`",
            hint=f"devenv debug … --port {port + 1}",
        )


def _say_where(stack: contextlib.ExitStack, runner: TaskRunner, port: int, attachment: Attachment, how: str) -> None:
    """Makes the port reachable where the task runs elsewhere, and says what to press."""
    out = console()
    if runner.forward is not None:
        stack.enter_context(runner.forward(port, attachment.port))
    mappings = {str(folder): there for folder, there in attachment.mappings.items()}
    out.record("debug.waiting", {"host": "127.0.0.1", "port": attachment.port, "mappings": mappings})
    out.print(f"waits for a debugger on 127.0.0.1:{attachment.port}; Ctrl-C ends")
    if how:
        out.print(f"  {how}")
        return
    for folder, there in mappings.items():
        out.print(f"  {folder} is {there} there")
    out.hint("--editor vscode, pycharm, zed or nvim makes yours ready")
