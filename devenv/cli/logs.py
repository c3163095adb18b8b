"""`devenv logs`."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.completion import complete_logs
from devenv.cli.context import backend_from, console, project_from, session
from devenv.components import WORKLOADS
from devenv.errors import UsageError

if TYPE_CHECKING:
    from devenv.backends.base import Backend
    from devenv.events import LogLine


class PatternInvalid(UsageError):
    """`--grep` takes a regular expression, as Python's `re` reads it."""

    code = "DEVENV-804"


class NotAComponent(UsageError):
    """`devenv logs` takes the names of components, or one DAG and a task of it."""

    code = "DEVENV-802"


def command(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMPONENT… | DAG [TASK]",
            help="Components; or a DAG and a task. Without: all.",
            autocompletion=complete_logs,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as lines are written; Ctrl-C ends.")] = False,
    since: Annotated[str, typer.Option(metavar="TIME", help="Only what is newer: 10m, 2h, 2026-01-31T06:00.")] = "",
    grep: Annotated[str, typer.Option(metavar="REGEX", help="Only lines in which this is found.")] = "",
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=0, help="The last N lines of each log; 0 for all.")
    ] = 200,
    run: Annotated[str, typer.Option(metavar="RUN", help="Of a DAG: the run's id, or latest.")] = "latest",
    attempt: Annotated[
        int, typer.Option("--try", metavar="N", min=0, help="Of a task: which try; 0 for the last.")
    ] = 0,
) -> None:
    """Prints the logs of components in time order, or of a task, also after its pod is gone.

    Examples:
      devenv logs scheduler -f
      devenv logs --since 10m --grep 'ERROR|Traceback'
      devenv logs sales load --try 1
    """
    from devenv.logs.since import since_seconds

    pattern = _pattern(grep)
    now = session().environment.now()
    back = since_seconds(since, now) if since else None
    backend = backend_from(project_from())
    chosen = tuple(names or ())
    if chosen and chosen[0] not in WORKLOADS:
        from devenv.airflow.client import DagUnknown

        after = now - back if back else 0.0
        try:
            _task(backend, chosen, run=run, attempt=attempt, follow=follow, pattern=pattern, after=after)
        except DagUnknown as error:
            near = difflib.get_close_matches(chosen[0], WORKLOADS, 1, 0.7)
            if not near:
                raise
            raise NotAComponent(
                f"{chosen[0]!r} is neither a component nor a DAG; did you mean {near[0]}?",
                hint=f"devenv logs {near[0]}",
            ) from error
        return
    unknown = [name for name in chosen if name not in WORKLOADS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], WORKLOADS, 1, 0.5)
        raise NotAComponent(
            f"{unknown[0]!r} is no component" + (f"; did you mean {near[0]}?" if near else ""),
            hint=f"devenv logs {near[0]}" if near else f"the components are {', '.join(WORKLOADS)}",
        )
    from devenv.backends.base import LogQuery

    query = LogQuery(components=chosen, follow=follow, since_seconds=back, tail=lines or None)
    print_lines(line for line in backend.logs(query) if pattern is None or pattern.search(line.text))


def _task(
    backend: Backend,
    names: tuple[str, ...],
    *,
    run: str,
    attempt: int,
    follow: bool,
    pattern: re.Pattern[str] | None,
    after: float,
) -> None:
    from devenv.logs.scrub import Scrubber
    from devenv.logs.task import TaskLogQuery, task_logs

    if len(names) > 2:
        raise NotAComponent(f"a DAG and at most one task, not {len(names)} names", hint="devenv logs DAG TASK")
    query = TaskLogQuery(names[0], names[1] if len(names) > 1 else "", run, attempt, follow)
    found = task_logs(backend, query, scrub=Scrubber(backend.known_secrets()))
    print_task_lines(line for line in _newer(found, after) if pattern is None or pattern.search(line.text))


def _newer(lines: Iterable[LogLine], after: float) -> Iterator[LogLine]:
    """Lines after a moment; one without a time (a traceback) goes with the line before it."""
    last = 0.0
    for line in lines:
        last = line.time or last
        if last >= after:
            yield line


def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise PatternInvalid(f"--grep {text!r} is no regular expression: {error}") from error


def print_lines(lines: Iterable[LogLine]) -> None:
    """Writes components' lines, each with its local time and its component."""
    out = console()
    for line in lines:
        if out.json:
            out.report(line)
        else:
            out.print(out.renderer.log_line(line, time.strftime("%H:%M:%S", time.localtime(line.time))))


def print_task_lines(lines: Iterable[LogLine]) -> None:
    """Writes tasks' lines as they stand in the log, with a heading where the task changes."""
    from rich.text import Text

    out, task = console(), None
    for line in lines:
        if out.json:
            out.report(line)
            continue
        if line.source != task:
            task = line.source
            out.print(Text(f"── {task} ──", "dim"))
        out.print(line.text)
