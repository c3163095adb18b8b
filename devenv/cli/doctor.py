"""`devenv doctor`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from devenv.cli.context import backend_from, console, project_from, session
from devenv.errors import DevenvError, ExitCode

if TYPE_CHECKING:
    from devenv.backends.base import Backend
    from devenv.doctor.check import Result
    from devenv.project import Project

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "failure": ("✗", "bold red"), "skipped": ("·", "dim")}
_TITLE = 22


def command(
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Do what is safe to do about what is found, then look again.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write all of it, without secrets, to attach to an issue."),
    ] = None,
) -> int:
    """Looks for what is wrong with this machine and the environment, and says what to do.

    Exits with 1 when something fails, 0 otherwise, warnings included.

    Examples:
      devenv doctor
      devenv doctor --fix
      devenv doctor --report doctor.md
    """
    from devenv.doctor.check import diagnose
    from devenv.doctor.examine import all_checks
    from devenv.doctor.machine import Machine

    environment = session().environment
    project, backend, trouble = _subject()
    checks = all_checks(Machine(environment), project, backend, trouble)
    results = diagnose(checks, _show)
    if fix and _apply(results):
        console().print("", Text("once more", "bold"))
        results = diagnose(checks, _show)
    if report is not None:
        _write(report, results, project, backend)
    counts = Counter(result.finding.level for result in results)
    failures, warnings = counts["failure"], counts["warning"]
    console().record("doctor.finished", {"failures": failures, "warnings": warnings, "checks": len(results)})
    if failures or warnings:
        parts = [
            f"{number} {word}{'s' if number > 1 else ''}"
            for number, word in ((failures, "failure"), (warnings, "warning"))
            if number
        ]
        console().print("", Text(", ".join(parts), "bold red" if failures else "yellow"))
        if not fix and any(result.finding.fix for result in results):
            console().print(Text("→ devenv doctor --fix   does what can be done safely", "cyan"))
    else:
        console().print("", Text("nothing is wrong", "green"))
    if (unseen := sum(not result.ran for result in results)) and not session().verbose:
        console().print(Text(f"{unseen} more were not looked at, because of what they need; -v names them", "dim"))
    return ExitCode.FAILED if failures else ExitCode.OK


def _subject() -> tuple[Project | None, Backend | None, DevenvError | None]:
    """The project and its backend as far as there are any, and what is in the way."""
    try:
        project = project_from()
    except DevenvError as error:
        return None, None, error
    try:
        return project, backend_from(project, needs_running=False), None
    except DevenvError as error:
        return project, None, error


def _show(result: Result) -> None:
    finding, check = result.finding, result.check
    console().record(
        "doctor.finding",
        {
            "check": check.name,
            "title": check.title,
            "level": finding.level,
            "cause": finding.cause,
            "remedy": finding.remedy,
            "detail": finding.detail,
            "fix": finding.fix.title if finding.fix else None,
            "seconds": round(result.seconds, 3),
        },
    )
    if (session().quiet and finding.level in ("ok", "skipped")) or not (result.ran or session().verbose):
        return
    mark, style = _MARKS[finding.level]
    text = finding.cause if finding.level in ("warning", "failure") else Text(finding.cause, "dim")
    console().print(Text.assemble((mark, style), f" {check.title:<{_TITLE}} ", text))
    room = " " * (_TITLE + 3)
    if finding.level in ("warning", "failure"):
        lines = [Text(f"{room}{line}", "dim") for line in finding.detail.strip().splitlines()[-12:]]
        remedy = [Text.assemble(room, ("→ ", "cyan"), (finding.remedy, "cyan"))] if finding.remedy else []
        console().print(*lines, *remedy)


def _apply(results: list[Result]) -> bool:
    """Does what the findings offer; says what was done. False where nothing was offered."""
    done = False
    for result in results:
        chosen = result.finding.fix
        if chosen is None:
            continue
        if not done:
            console().print("", Text("fixing", "bold"))
        done = True
        try:
            chosen.apply()
        except (DevenvError, OSError) as error:
            console().print(Text.assemble(("✗", "bold red"), f" {chosen.title}: {error}"))
            console().record("doctor.fix", {"check": result.check.name, "fix": chosen.title, "ok": False})
        else:
            console().print(Text.assemble(("✓", "green"), f" {chosen.title}"))
            console().record("doctor.fix", {"check": result.check.name, "fix": chosen.title, "ok": True})
    return done


def _write(path: Path, results: list[Result], project: Project | None, backend: Backend | None) -> None:
    from devenv.doctor.report import report_text
    from devenv.files import write_whole
    from devenv.logs.scrub import Scrubber

    environment = session().environment
    try:
        known = list(backend.known_secrets()) if backend is not None else []
    except DevenvError:
        known = []  # where nothing is set up, nothing is known that could be shown
    text = report_text(results, project, backend, home=environment.home, scrub=Scrubber(known))
    target = environment.cwd / path
    write_whole(target, text)
    console().print(Text(f"written to {target}", "dim"))
