"""Why Airflow never looks at a file: the patterns of `.airflowignore`, judged by the release's own rules."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any, List, NamedTuple, Tuple

from devenv.agent.places import Places
from devenv.agent.problems import Problem, problem

NAME = ".airflowignore"
_DISCOVERIES = ("airflow._shared.module_loading.file_discovery", "airflow.utils.file")
"""Where the rules are: from 3.2 on, and before."""


class Pattern(NamedTuple):
    """A line of a `.airflowignore`: its place, its text without a comment, and the rule that Airflow makes of it."""

    file: str
    line: int
    text: str
    rule: Any


class Patterns:
    """The release's way with `.airflowignore`."""

    def __init__(self, places: Places, version: Tuple[int, ...]) -> None:
        from airflow.configuration import conf

        self._places = places
        self.syntax = conf.get("core", "dag_ignore_file_syntax", fallback="glob" if version >= (3,) else "regexp")
        self._rules = _rules(self.syntax)

    def hides(self, file: str) -> "Problem | None":
        """Says that Airflow does not look at a file, and because of which line; None when it does."""
        names = file.split("/")
        lists = ["/".join([*names[:depth], NAME]) for depth in range(1, len(names))]
        if not any(os.path.isfile(self._places.path(name)) for name in lists):
            return None
        collected: List[Pattern] = []
        for depth, name in enumerate(lists, 1):
            collected += [one for one in self.read(name) if one.rule is not None]
            path = Path(self._places.path("/".join(names[: depth + 1])))
            if self._matches(path, collected):
                return self._said(self._decisive(path, collected))
        return None

    def invalid(self, name: str) -> List[Problem]:
        """A warning for each pattern of a `.airflowignore` that Airflow skips."""
        return [
            problem(
                "ignore-pattern",
                f"{one.text!r} is no regular expression; Airflow skips this line",
                severity="warning",
                file=name,
                line=one.line,
                hint=_SYNTAX_HINT,
                places=self._places,
            )
            for one in self.read(name)
            if one.rule is None and self.syntax != "glob"
        ]

    def read(self, name: str) -> List[Pattern]:
        """The patterns of one file; those that Airflow skips have no rule."""
        base, whole = Path(self._places.dag_folder), Path(self._places.path(name))
        found = []
        for number, line in enumerate(self._places.lines(name), 1):
            text = re.sub(r"\s*#.*", "", line)
            if text:
                found.append(Pattern(name, number, text, self._rules.compile(text, base, whole)))
        return found

    def _matches(self, path: Path, patterns: List[Pattern]) -> bool:
        return bool(self._rules.match(path, [one.rule for one in patterns]))

    def _decisive(self, path: Path, patterns: List[Pattern]) -> Pattern:
        """The last line that hides a path: without it, or what comes after, it would be seen."""
        for count in range(len(patterns), 0, -1):
            if self._matches(path, patterns[:count]) and not self._matches(path, patterns[: count - 1]):
                return patterns[count - 1]
        return patterns[0]

    def _said(self, one: Pattern) -> Problem:
        return problem(
            "ignored-file",
            f"Airflow does not look at this file: {one.file}:{one.line} has the pattern {one.text!r}",
            severity="info",
            file=one.file,
            line=one.line,
            hint=_SYNTAX_HINT,
            places=self._places,
        )


_SYNTAX_HINT = "Patterns are regular expressions by default in Airflow 2, and as in .gitignore in Airflow 3."


def _rules(syntax: str) -> Any:
    name = "_GlobIgnoreRule" if syntax == "glob" else "_RegexpIgnoreRule"
    for module in _DISCOVERIES:
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            continue
        if found is not None:
            return found
    raise ImportError(f"this release of Airflow has no {name}")
