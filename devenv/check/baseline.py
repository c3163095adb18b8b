"""A baseline: the problems that a team knows of, so that `devenv check` fails only for new ones."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from devenv.errors import UsageError
from devenv.files import read_regular, write_whole
from devenv.verdict import Problem, Verdict

_LIMIT = 64 * 1_048_576
_VERSION = 1


class BaselineUnreadable(UsageError):
    """The file given with `--baseline` is no baseline, or cannot be read.

    `devenv check --baseline FILE --update-baseline` writes it from what is found now.
    """

    code = "DEVENV-544"


def known(path: Path) -> Counter[tuple[str, str, str]]:
    """The problems of a baseline: file, rule and message, and how often; a file that is not there has none.

    A line number is no part of it: code above a problem moves it.

    Raises:
        BaselineUnreadable: as it says.
    """
    hint = f"devenv check --baseline {path} --update-baseline"
    try:
        content = read_regular(path, _LIMIT)
    except FileNotFoundError:
        return Counter()
    except OSError as error:
        raise BaselineUnreadable(f"{path} cannot be read: {error.strerror}", hint=hint) from error
    try:
        raw = json.loads(content or b"")
        return Counter({(one["file"], one["rule"], one["message"]): int(one["count"]) for one in raw["problems"]})
    except (ValueError, TypeError, KeyError) as error:
        raise BaselineUnreadable(f"{path} is no baseline of devenv", hint=hint) from error


def write(path: Path, verdicts: Iterable[Verdict]) -> int:
    """Writes what is found now; how many problems that is.

    Raises:
        BaselineUnreadable: it cannot be written.
    """
    found = counted(verdicts)
    problems = [
        {"file": file, "rule": rule, "message": message, "count": count}
        for (file, rule, message), count in sorted(found.items())
    ]
    try:
        write_whole(path, json.dumps({"version": _VERSION, "problems": problems}, indent=1) + "\n", 0o644)
    except OSError as error:
        raise BaselineUnreadable(f"{path} cannot be written: {error.strerror}", hint="name another file") from error
    return sum(found.values())


def counted(verdicts: Iterable[Verdict]) -> Counter[tuple[str, str, str]]:
    """The problems of verdicts, as `known` gives those of a file."""
    return Counter(_key(verdict, problem) for verdict in verdicts for problem in verdict.problems)


def without_known(verdicts: Sequence[Verdict], baseline: Counter[tuple[str, str, str]]) -> list[Verdict]:
    """The verdicts with the problems that are not in the baseline, or are there fewer times."""
    left = baseline.copy()
    found = []
    for verdict in verdicts:
        problems = []
        for problem in verdict.problems:
            key = _key(verdict, problem)
            if left[key] > 0:
                left[key] -= 1
            else:
                problems.append(problem)
        found.append(dataclasses.replace(verdict, problems=tuple(problems)))
    return found


def _key(verdict: Verdict, problem: Problem) -> tuple[str, str, str]:
    return (problem.file or verdict.file, problem.rule, problem.message)
