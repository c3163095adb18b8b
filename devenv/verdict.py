"""What is known about one DAG file: does Airflow parse it, and what is wrong if not.

A verdict comes from the agent (within the round trip of the save) and later from the scheduler, which
has the last word. It travels as JSON from the pod, so it is plain data; `Verdict.from_json` bounds and
cleans whatever arrives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from devenv.foreign_text import clean

Severity = Literal["error", "warning", "info"]
Speaker = Literal["agent", "scheduler", "check"]

_ITEMS_LIMIT = 500


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or worth knowing, about a DAG file.

    Attributes:
        rule: a stable name in kebab case: `syntax-error`, `import-error`, `duplicate-dag-id`, `slow-top-level` …
        severity: an error keeps the file's DAGs from running; a warning does not.
        type: the exception's name (`ModuleNotFoundError`), or "" where there was none.
        message: one or a few lines for a person.
        file: the file where it happened, relative like `Verdict.file`; may be another file (a helper).
        line, column: 1-based; 0 when not known.
        excerpt: the lines around it, as the file has them, the first being number `excerpt_line`.
        hint: what to do about it, or "".
    """

    rule: str
    severity: Severity
    message: str
    type: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    excerpt: tuple[str, ...] = ()
    excerpt_line: int = 0
    hint: str = ""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Problem:
        """A problem from untrusted JSON; what does not fit is bounded or replaced, never raised."""
        severity = raw.get("severity")
        return cls(
            rule=clean(raw.get("rule", "unknown"), 100),
            severity=severity if severity in ("error", "warning", "info") else "error",
            message=clean(raw.get("message", "")),
            type=clean(raw.get("type", ""), 200),
            file=_path(raw.get("file")),
            line=_number(raw.get("line")),
            column=_number(raw.get("column")),
            excerpt=tuple(clean(line, 500) for line in _list(raw.get("excerpt"))[:20]),
            excerpt_line=_number(raw.get("excerpt_line")),
            hint=clean(raw.get("hint", ""), 2000),
        )


@dataclass(frozen=True)
class Verdict:
    """What one parse of one DAG file found.

    Attributes:
        file: the path below the synced root, POSIX, with the root's name first: `dags/team/etl.py`.
        dag_ids: the DAGs that the file defines now.
        problems: empty when all is well; the file is broken when one of them is an error.
        milliseconds: how long the parse took.
        speaker: who says so.
        added, removed, changed: DAG ids against the previous parse of this file by the same speaker.
        because: the helper or configuration file whose change caused this parse, or "".
        parsed_at: seconds since the epoch on the speaker's clock.
    """

    file: str
    dag_ids: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    milliseconds: float = 0.0
    speaker: Speaker = "agent"
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    because: str = ""
    parsed_at: float = field(default=0.0, compare=False)

    @property
    def reason(self) -> str:
        """The first line of the first error; "" where there is none."""
        return next((one.message.partition("\n")[0] for one in self.problems if one.severity == "error"), "")

    @property
    def ok(self) -> bool:
        """True when no problem is an error."""
        return not any(problem.severity == "error" for problem in self.problems)

    def rule(self, name: str) -> Problem | None:
        """The first problem of this rule."""
        return next((problem for problem in self.problems if problem.rule == name), None)

    def to_json(self) -> dict[str, Any]:
        """Plain data with the names of the attributes."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Verdict:
        """A verdict from untrusted JSON; what does not fit is bounded or replaced, never raised."""
        speaker = raw.get("speaker")
        return cls(
            file=_path(raw.get("file")),
            dag_ids=_names(raw.get("dag_ids")),
            problems=tuple(
                Problem.from_json(item)
                for item in _list(raw.get("problems"))[:_ITEMS_LIMIT]
                if isinstance(item, Mapping)
            ),
            milliseconds=_float(raw.get("milliseconds")),
            speaker=speaker if speaker in ("agent", "scheduler", "check") else "agent",
            added=_names(raw.get("added")),
            removed=_names(raw.get("removed")),
            changed=_names(raw.get("changed")),
            because=_path(raw.get("because")),
            parsed_at=_float(raw.get("parsed_at")),
        )


def _path(value: object) -> str:
    """A path as it is, since it names a file here too; it is made safe where it is shown."""
    return str(value or "")[:4096]


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _names(value: object) -> tuple[str, ...]:
    return tuple(clean(item, 250) for item in _list(value)[:_ITEMS_LIMIT])


def _number(value: object) -> int:
    return max(0, int(value)) if isinstance(value, (int, float)) and abs(value) < 1e9 else 0


def _float(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e15 else 0.0
