"""`devenv upgrade`."""

from __future__ import annotations

from typing import Annotated

import typer

from devenv.cli.check import Format, show
from devenv.cli.context import console, project_from, reporter_from, session
from devenv.console.words import plural
from devenv.errors import ExitCode
from devenv.events import Notice


def command(
    *,
    to: Annotated[str, typer.Option("--to", metavar="RELEASE", help="Airflow's release: 3.3.2, 3.3, 3 or latest.")],
    fix: Annotated[
        bool, typer.Option("--fix", help="Have ruff correct what Airflow 3 removed and renamed, in place.")
    ] = False,
    output: Annotated[Format, typer.Option("--format", help="Who reads it.")] = Format.text,
) -> None:
    """Says what of this project breaks under another release of Airflow; nothing is changed without --fix.

    One list: options in devenv.toml that are gone or renamed there, packages that do not fit, DAG files that parse now
    and not there, and, from 2.x to 3.x, code that uses what was removed (ruff's rules AIR30x) or moved (AIR31x, a
    warning). What is wrong in both releases is not in it. The environment goes on with its own release; `devenv up
    --airflow-version RELEASE` moves it. Exit code 1 when something breaks.

    Examples:
      devenv upgrade --to 3.3.2
      devenv upgrade --to latest --fix
      devenv upgrade --to 3 --format github
    """
    from devenv.check.upgrade import correct, examine
    from devenv.published import is_full, newest

    project, report = project_from(), reporter_from()
    release = to if is_full(to) else newest(to, session().environment)
    if fix:
        count = correct(project)
        report(Notice("info", f"ruff corrected {plural(count, 'place')}; git diff shows them"))
    found = examine(project, release, report)
    show(project, found.verdicts, output, summary=False)
    broken = sum(not verdict.ok for verdict in found.verdicts)
    data = {"from": found.release, "to": found.to, "files": found.files, "broken": broken}
    console().record("upgrade.finished", data)
    if output is Format.text:
        said = "nothing breaks" if not broken else f"{plural(broken, 'file')} of {found.files} would break"
        console().print(f"Airflow {found.release} → {found.to}: {said}")
    if broken:
        raise typer.Exit(ExitCode.FAILED)
