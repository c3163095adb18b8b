"""Problems that a project does not want to be shown: rules that it switched off, and comments on a line."""

from __future__ import annotations

import re
from typing import Any, Iterable, List

from devenv.agent.places import Places
from devenv.agent.problems import Problem
from devenv.agent.rules import refused_by_airflow

_COMMENT = re.compile(r"#\s*devenv:\s*ignore(?:\[([\w\s,-]+)\])?")
"""`# devenv: ignore[top-level-io, no-dag-found]`, or for all rules `# devenv: ignore`."""


def reported(problems: Iterable[Problem], ignore: Iterable[str], places: Places) -> List[Problem]:
    """The problems that are left: what Airflow refuses is not for the project to switch off.

    Args:
        problems: on one DAG file.
        ignore: names of rules that are off.
        places: the roots.
    """
    off = set(ignore)
    return [
        one
        for one in problems
        if (one["severity"] == "error" and refused_by_airflow(one["rule"], one["type"]))
        or not (one["rule"] in off or _commented(one, places))
    ]


def _commented(one: Problem, places: Places) -> bool:
    found = _COMMENT.search(_line(one, places))
    if found is None:
        return False
    names: Any = found.group(1)
    return names is None or one["rule"] in [name.strip() for name in names.split(",")]


def _line(one: Problem, places: Places) -> str:
    """The line that a problem is about."""
    if not one["line"]:
        return ""
    lines = places.lines(one["file"])
    return lines[one["line"] - 1] if one["line"] <= len(lines) else ""
