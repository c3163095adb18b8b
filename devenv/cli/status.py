"""`devenv status`."""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.context import backend_from, console, project_from
from devenv.console.words import elapsed, plural
from devenv.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.text import Text

    from devenv.overview import Overview

_HEALTH = {"running": "green", "starting": "yellow", "failed": "bold red", "stopped": "dim", "missing": "red"}
_RUN_STATE = {"success": "green", "failed": "bold red", "running": "cyan"}
_LOOK_SECONDS = 2.0


def command(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew every two seconds, until Ctrl-C.")] = False,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show Airflow's password, also where output is not a terminal.")
    ] = False,
) -> int:
    """Shows what runs, where it answers, and what is broken.

    Exits with 0 when the environment is up, 1 when it is partly up, stopped or missing.

    Examples:
      devenv status
      devenv status --watch
      devenv status -o json | jq .data.urls
    """
    from devenv.overview import look, with_judged

    project = project_from()
    backend = backend_from(project)
    if watch:
        _watch(lambda: with_judged(project, look(project, backend)))
        return ExitCode.OK
    with ThreadPoolExecutor(1) as asking:
        asked = asking.submit(look, project, backend)
        out = console()  # what shows the answer is imported while the environment is asked
        from devenv.cli.summary import print_summary

        overview = with_judged(project, asked.result())
    out.record("status", _plain(overview))
    out.print(*lines(overview, out.renderer.width, out.session.environment.now()))
    if overview.status.state in ("up", "partly"):
        print_summary(backend, overview.status, reveal=reveal)
    return ExitCode.OK if overview.status.state == "up" else ExitCode.FAILED


def lines(overview: Overview, width: int, now: float) -> list[Text]:
    """The overview as text."""
    from rich.text import Text

    from devenv.console.tables import table

    status = overview.status
    style = {"up": "bold green", "partly": "bold yellow"}.get(status.state, "bold red")
    shown: list[Text | str] = [
        Text.assemble((status.identifier, "bold"), f" on {status.backend} is ", (status.state, style))
    ]
    if status.versions:
        shown.append(Text("  ".join(f"{name} {version}" for name, version in status.versions.items()), "dim"))
    rows = [
        (
            component.name,
            Text(component.health, _HEALTH[component.health]),
            str(component.restarts) if component.restarts else "",
            elapsed(now - component.since) if component.since else "",
            component.detail.strip().splitlines()[-1] if component.detail.strip() else component.image,
        )
        for component in status.components
    ]
    shown += ["", *table(("component", "health", "restarts", "since", "detail"), rows, width)] if rows else []
    if status.state == "missing":
        shown += [Text("→ devenv up", "cyan")]
    elif status.state == "stopped":
        shown += [Text("→ devenv up   starts it again", "cyan")]
    if overview.silent and status.state in ("up", "partly"):
        shown += ["", Text(f"Airflow does not answer: {overview.silent}", "yellow")]
    shown += _dag_lines(overview, width, now)
    shown += [
        Text(f"{pod.pod} runs with an old secret: {', '.join(pod.paths)}   → devenv secrets seed", "yellow")
        for pod in overview.stale
    ]
    watcher = overview.watcher
    if status.state in ("up", "partly"):
        watching = (
            f"process {watcher.pid} watches the DAG folder"
            if watcher
            else "nothing watches the DAG folder: devenv watch"
        )
        shown += ["", Text(watching, "" if watcher else "yellow")]
    return [Text(line) if isinstance(line, str) else line for line in shown]


def _dag_lines(overview: Overview, width: int, now: float) -> list[Text | str]:
    from rich.text import Text

    from devenv.airflow.model import dag_path, last_line
    from devenv.console.tables import table

    names = console().shown
    named = names.path if names is not None else str
    shown: list[Text | str] = []
    if overview.dags:
        total = plural(sum(overview.dags.values()), "DAG")
        states = ", ".join(f"{count} {state}" for state, count in sorted(overview.dags.items()))
        shown += ["", f"{total}: {states}"]
    if overview.broken:
        shown += ["", Text(f"{plural(len(overview.broken), 'file')} the scheduler cannot parse:", "red")]
        shown += [
            Text.assemble("  ", (named(dag_path(problem.file)), "bold"), f"  {last_line(problem.trace)}")
            for problem in overview.broken
        ]
    if overview.judged:
        shown += ["", Text(f"{plural(len(overview.judged), 'file')} that only devenv holds for broken:", "red")]
        shown += [
            Text.assemble("  ", (named(verdict.file), "bold"), f"  {verdict.reason}") for verdict in overview.judged
        ]
    rows = [
        (
            run.dag_id,
            run.run_id,
            Text(run.state, _RUN_STATE.get(run.state, "")),
            elapsed((run.end or now) - run.start) if run.start else "",
        )
        for run in overview.runs
    ]
    shown += ["", *table(("latest runs", "run", "state", "took"), rows, width)] if rows else []
    for trouble in overview.troubles:
        shown.append(Text(f"{trouble.dag_id} {trouble.task}: {trouble.text}", "red"))
        shown += [Text(f"→ {trouble.hint}", "cyan")] if trouble.hint else []
    return shown


def _watch(look: Callable[[], Overview]) -> None:
    """Shows the overview again and again; on a terminal in place, with `-o json` a line each time."""
    out = console()
    if out.json or not out.out.interactive:
        while True:
            overview = look()
            out.record("status", _plain(overview))
            out.print(*lines(overview, out.renderer.width, out.session.environment.now()), "")
            time.sleep(_LOOK_SECONDS)
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with Live(console=out.out.console(), screen=True, auto_refresh=False) as live:
        while True:
            shown = lines(look(), out.renderer.width, out.session.environment.now())
            live.update(Group(*out.renderer.final(shown), Text("\nCtrl-C ends this view", "dim")), refresh=True)
            time.sleep(_LOOK_SECONDS)


def _plain(overview: Overview) -> dict[str, object]:
    data = dataclasses.asdict(overview)
    del data["listed"]  # that is `devenv dags`
    return {**data.pop("status"), **data}
