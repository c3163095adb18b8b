"""What `devenv check` found, for other programs: JSON, GitHub's annotations, SARIF 2.1.0."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from devenv import __version__
from devenv.foreign_text import visible
from devenv.verdict import Problem, Verdict

Place = Callable[[str], str]
"""Turns `dags/etl.py` into the path of the file from the working folder."""

_LEVELS = {"error": "error", "warning": "warning", "info": "note"}
_COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def as_json(verdicts: Sequence[Verdict]) -> str:
    """One object: `ok`, and `verdicts` with the fields of `Verdict`."""
    found = [verdict.to_json() for verdict in verdicts]
    return json.dumps({"ok": all(verdict.ok for verdict in verdicts), "verdicts": found}, indent=2)


def as_github(verdicts: Sequence[Verdict], place: Place) -> Iterator[str]:
    """Workflow commands: a runner shows each at its line of the change.

    From GitHub's documentation of workflow commands: `%`, carriage return and newline are escaped in the message, and
    `:` and `,` too in the properties.
    """
    for verdict, problem in _problems(verdicts):
        properties = {"file": place(problem.file or verdict.file), "title": problem.rule}
        if problem.line:
            properties["line"] = str(problem.line)
        if problem.column:
            properties["col"] = str(problem.column)
        inside = ",".join(f"{name}={_escape(value, ':,')}" for name, value in properties.items())
        yield f"::{_COMMANDS[problem.severity]} {inside}::{_escape(_sentence(problem))}"


def as_sarif(verdicts: Sequence[Verdict], place: Place) -> str:
    """A SARIF log with one run."""
    results = [_result(verdict, problem, place) for verdict, problem in _problems(verdicts)]
    rules = sorted({problem.rule for _verdict, problem in _problems(verdicts)})
    driver = {
        "name": "devenv check",
        "version": __version__,
        "rules": [{"id": rule, "name": rule, "shortDescription": {"text": rule.replace("-", " ")}} for rule in rules],
    }
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(log, indent=2)


def _result(verdict: Verdict, problem: Problem, place: Place) -> dict[str, Any]:
    location: dict[str, Any] = {
        "artifactLocation": {"uri": quote(place(problem.file or verdict.file), errors="replace")}
    }
    if problem.line:
        location["region"] = {"startLine": problem.line}
        if problem.column:
            location["region"]["startColumn"] = problem.column
    return {
        "ruleId": problem.rule,
        "level": _LEVELS[problem.severity],
        "message": {"text": _sentence(problem)},
        "locations": [{"physicalLocation": location}],
    }


def _problems(verdicts: Sequence[Verdict]) -> Iterator[tuple[Verdict, Problem]]:
    for verdict in verdicts:
        for problem in verdict.problems:
            yield verdict, problem


def _sentence(problem: Problem) -> str:
    head = f"{problem.type}: {problem.message}" if problem.type else problem.message
    return f"{head}\n{problem.hint}" if problem.hint else head


def _escape(text: str, further: str = "") -> str:
    text = visible(text)
    for character in "%\r\n" + further:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
