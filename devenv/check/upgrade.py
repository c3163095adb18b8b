"""What of a project breaks under another release of Airflow: settings, packages, DAG files and their code."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from devenv import process
from devenv.agent.places import Places
from devenv.airflow.configuration import ignored_options
from devenv.airflow.releases import Release
from devenv.check import baseline
from devenv.check.run import check, find_python
from devenv.errors import DevenvError, MissingError
from devenv.events import Notice, Reporter
from devenv.project import Project
from devenv.published import uv, uv_variables
from devenv.settings.load import FILE_NAME
from devenv.sync.roots import roots_of
from devenv.verdict import Problem, Verdict

_RULES = "AIR3"
"""ruff's rules on what Airflow 3 removed (AIR30x) and moved (AIR31x): https://docs.astral.sh/ruff/rules/#airflow-air"""
_REMOVED = "AIR30"
_SECONDS = 300.0
_FINDINGS = 1
"""ruff's exit code where it has found something."""


class RuffFailed(MissingError):
    """ruff, which knows what Airflow 3 removed and moved, cannot be fetched by uv, or failed."""

    code = "DEVENV-545"


@dataclass(frozen=True)
class Upgrade:
    """What was found.

    Attributes:
        release: the release of now.
        to: the other one.
        verdicts: the files with what is new there; those without a problem are left out.
        files: how many DAG files were looked at.
    """

    release: str
    to: str
    verdicts: tuple[Verdict, ...]
    files: int


def examine(project: Project, to: str, report: Reporter) -> Upgrade:
    """Looks at a project as it is, and as it would be under another release.

    Args:
        project: with the release of now.
        to: the other release, in full.
        report: told what is done.

    Raises:
        DevenvError: the project cannot be checked even as it is.
    """
    now = project.settings.airflow.version
    before = check(project, [], python=find_python(project, None, report), safe_mode=None, report=report)
    found: dict[str, list[Problem]] = defaultdict(list)
    found[FILE_NAME] += _settings(project, to)
    airflow = project.settings.airflow.model_copy(update={"version": to})
    there = replace(project, settings=project.settings.model_copy(update={"airflow": airflow}))
    files, dags = len(before), {verdict.file: verdict.dag_ids for verdict in before}
    try:
        after = check(there, [], python=find_python(there, None, report), safe_mode=None, report=report)
    except DevenvError as error:
        found["requirements.txt"].append(Problem("packages", "error", error.message, hint=error.hint or ""))
    else:
        files, dags = len(after), {verdict.file: verdict.dag_ids for verdict in after}
        for verdict in baseline.without_known(after, baseline.counted(before)):
            found[verdict.file] += [problem for problem in verdict.problems if problem.severity != "info"]
    if Release(to).is_3 and not Release(now).is_3:
        try:
            for file, problem in _moved(project):
                found[file].append(problem)
        except RuffFailed as error:
            report(Notice("warning", f"code is not looked at: {error.message}", error.hint or ""))
    verdicts = tuple(
        Verdict(file, dag_ids=dags.get(file, ()), problems=tuple(problems), speaker="check")
        for file, problems in sorted(found.items())
        if problems
    )
    return Upgrade(now, to, verdicts, files)


def correct(project: Project) -> int:
    """Has ruff correct what Airflow 3 removed and renamed; how many findings are gone.

    Raises:
        RuffFailed: it cannot be run.
    """
    before = len(_ruff(project, _REMOVED))
    _ruff(project, _REMOVED, "--fix", "--unsafe-fixes")
    return before - len(_ruff(project, _REMOVED))


def _settings(project: Project, to: str) -> Iterator[Problem]:
    """Options of `[airflow.config]` that are gone or renamed there."""
    try:
        lines = (project.folder / FILE_NAME).read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for name, text in ignored_options(project.settings.airflow.config, Release(to)):
        named = re.compile(rf"^\s*\[?[\w.\"]*\b{re.escape(name)}\b")
        line = next((number for number, each in enumerate(lines, 1) if named.match(each)), 0)
        yield Problem("ignored-option", "error", text, file=FILE_NAME, line=line)


def _moved(project: Project) -> Iterator[tuple[str, Problem]]:
    """What ruff finds: the file as it is called in verdicts, and the problem."""
    places = Places({root.name: str(root.folder.resolve()) for root in roots_of(project)})
    for raw in _ruff(project, _RULES):
        file = places.name(raw.get("filename"))
        if file is None:
            continue
        at = raw.get("location") or {}
        code = str(raw.get("code") or "")
        excerpt, first = places.excerpt(file, int(at.get("row") or 0))
        found = {
            "rule": code,
            "severity": "error" if code.startswith(_REMOVED) else "warning",
            "message": raw.get("message") or "",
            "file": file,
            "line": at.get("row"),
            "column": at.get("column"),
            "excerpt": excerpt,
            "excerpt_line": first,
            "hint": (raw.get("fix") or {}).get("message") or "",
        }
        yield file, Problem.from_json(found)


def _ruff(project: Project, rules: str, *options: str) -> Sequence[Mapping[str, Any]]:
    """Ruff's findings in the synced folders; the project's own settings of ruff do not count."""
    folders = [str(root.folder.resolve()) for root in roots_of(project) if root.folder.is_dir()]
    command = [uv(), "tool", "run", "--quiet", "ruff", "check", "--isolated", "--no-cache", "--preview"]
    command += ["--select", rules, "--output-format", "json", *options, *folders]
    try:
        done = process.run(command, timeout=_SECONDS, variables=uv_variables(project.environment), check=False)
        if done.returncode in (0, _FINDINGS):
            found: Sequence[Mapping[str, Any]] = json.loads(done.stdout)
            return found
    except (DevenvError, ValueError) as error:
        raise RuffFailed(f"ruff cannot be run: {error}", hint="with a network, run it again") from error
    raise RuffFailed("ruff cannot be run", hint="with a network, run it again", detail=done.stderr)
