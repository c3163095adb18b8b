"""`devenv check`."""

from __future__ import annotations

import os
from collections import Counter
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.context import console, project_from, reporter_from, session
from devenv.errors import ExitCode
from devenv.events import Notice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devenv.project import Project
    from devenv.verdict import Verdict


_FEW = 5
"""As many problems can be counted by who reads them; above, a table counts them by rule."""


class Format(str, Enum):
    """What `--format` takes."""

    text = "text"
    json = "json"
    github = "github"
    sarif = "sarif"


def command(
    *,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH…]", help="Files or folders; without, the whole DAG folder."),
    ] = None,
    python: Annotated[
        Path | None,
        typer.Option(
            metavar="PROGRAM", help="A Python that has Airflow; without, the current one or one in the cache."
        ),
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="Who reads it.")] = Format.text,
    strict: Annotated[bool, typer.Option("--strict", help="A warning is a failure too.")] = False,
    safe_mode: Annotated[
        bool,
        typer.Option(
            "--safe-mode/--no-safe-mode", help='Skip files without the words "dag" and "airflow", as Airflow does.'
        ),
    ] = True,
    baseline: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Problems that are known: only others are reported.")
    ] = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Write what is found to the file of --baseline.")
    ] = False,
    version: Annotated[str | None, typer.Option("--airflow", metavar="RELEASE", help="Airflow's release.")] = None,
    env_file: Annotated[str | None, typer.Option(metavar="FILE", help="In place of .env, in the project.")] = None,
) -> None:
    """Says whether DAG files parse, and what is wrong with them, without a cluster.

    Ends with 0 when all is well, 1 when a file is broken, 2 for a wrong argument.

    Examples:
      devenv check
      devenv check dags/etl.py --strict
      devenv check --no-safe-mode --format github
      devenv check --baseline known.json --update-baseline
    """
    from devenv.check import baseline as baselines
    from devenv.check.run import check, find_python, names_of

    if update_baseline and baseline is None:
        raise typer.BadParameter("--update-baseline needs --baseline FILE")
    known = baselines.known(baseline) if baseline is not None and not update_baseline else Counter()
    project = project_from(flags={"airflow.version": version, "env_file": env_file})
    report = reporter_from()
    names = names_of(project, paths or [])
    interpreter = find_python(project, python, report)
    verdicts = check(project, names, python=interpreter, safe_mode=None if safe_mode else False, report=report)
    if baseline is not None and update_baseline:
        count = baselines.write(baseline, verdicts)
        report(Notice("info", f"{baseline} has {count} problems"))
        return
    if baseline is not None:
        verdicts = baselines.without_known(verdicts, known)
    show(project, verdicts, output)
    bad = {"error", "warning"} if strict else {"error"}
    if any(problem.severity in bad for verdict in verdicts for problem in verdict.problems):
        raise typer.Exit(ExitCode.FAILED)


def show(project: Project, verdicts: Sequence[Verdict], output: Format, *, summary: bool = True) -> None:
    """Shows verdicts to whoever `output` names; in text with their count, unless `summary` is False."""
    from devenv.check.formats import as_github, as_json, as_sarif
    from devenv.sync.roots import roots_of
    from devenv.sync.shown import Shown

    out = console()
    shown = Shown.of(project)
    folders = {root.name: root.folder for root in roots_of(project)}

    def place(file: str) -> str:
        root, _, rest = file.partition("/")
        return os.path.relpath(folders.get(root, project.folder) / rest, session().environment.cwd)

    if out.json or output is Format.json:
        verdicts = [shown.verdict(verdict) for verdict in verdicts]
        for verdict in verdicts:
            out.record("verdict", verdict.to_json())
        out.print(as_json(verdicts))
    elif output is Format.github:
        out.print(*as_github(verdicts, place))
    elif output is Format.sarif:
        out.print(as_sarif(verdicts, place))
    else:
        _show_text([shown.verdict(verdict) for verdict in verdicts], summary=summary)


def _show_text(verdicts: Sequence[Verdict], *, summary: bool) -> None:
    from devenv.console.board import Judged
    from devenv.console.words import plural

    out = console()
    for verdict in verdicts:
        if verdict.problems:
            out.print(*out.renderer.judged(Judged(verdict)))
    broken = sum(not verdict.ok for verdict in verdicts)
    dags = sum(len(verdict.dag_ids) for verdict in verdicts)
    files = sum(verdict.file.endswith((".py", ".zip")) for verdict in verdicts)  # the rest are .airflowignore
    rules = Counter(problem.rule for verdict in verdicts for problem in verdict.problems if problem.severity != "info")
    if sum(rules.values()) > _FEW:
        out.print("", *(f"{count:>7}  {rule}" for rule, count in rules.most_common()), "")
    if summary:
        out.print(f"{plural(files, 'file')}, {plural(dags, 'DAG')}, {broken} broken")
