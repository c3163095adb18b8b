"""What the supervisor is told about a component, and what it tells: plain data that travels as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

RECORD = "supervisor.json"
"""Where a supervisor answers, in the environment's data folder."""


@dataclass(frozen=True)
class ComponentSpec:
    """A program that the supervisor keeps running.

    Attributes:
        name: as in `devenv.backends.base.Component`.
        command: the program and its arguments; no secrets, any user of the machine can read them.
        variables: its whole environment.
        cwd: its working folder.
        tier: what it stands on has a lower tier; the highest tier is ended first.
        stop_signal: what asks it to end: "TERM", "INT" …
        grace: seconds that it then has.
        user, group: numbers to run as, for root only.
        errors_only: its standard output is thrown away, its standard error is its log.
        revision: anything that, when it or the command differs, means that a running component must be started
            again. The variables alone do not: those of the user's shell differ from one terminal to the next.
    """

    name: str
    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = "/"
    tier: int = 0
    stop_signal: str = "TERM"
    grace: float = 8.0
    user: int | None = None
    group: int | None = None
    errors_only: bool = False
    revision: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data with the names of the attributes."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ComponentSpec:
        """The inverse of `to_json`."""
        return cls(**{**raw, "command": tuple(raw["command"])})


@dataclass(frozen=True)
class ComponentState:
    """A component as the supervisor sees it.

    Attributes:
        name: as in the spec.
        state: `running`; `waiting` to be started again after a crash; `looping`: waiting after several crashes in
            a row; `stopped`.
        pid: of its guardian, 0 when it does not run.
        restarts: since the supervisor started.
        since: seconds since the epoch when it reached this state.
        exit_code: of its last end, 128 + N for signal N; None when it never ended.
        lines: its last lines before that end.
    """

    name: str
    state: str
    pid: int = 0
    restarts: int = 0
    since: float = 0.0
    exit_code: int | None = None
    lines: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> ComponentState:
        """A state from the supervisor's JSON."""
        return cls(**{**raw, "lines": tuple(raw["lines"])})


def exit_words(code: int | None) -> str:
    """How a component ended, for a person: "ended with exit code 1", "was killed by SIGKILL"."""
    import signal

    if code is None:
        return "has not ended"
    if code > 128:
        try:
            return f"was killed by {signal.Signals(code - 128).name}"
        except ValueError:
            pass
    return f"ended with exit code {code}"
