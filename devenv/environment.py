"""What a command gets from outside, in one object that tests replace."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

import platformdirs


@dataclass(frozen=True)
class Environment:
    """Standard streams, environment variables, working folder, clocks and the user's folders.

    Everything below `devenv.cli` that wants one of these takes it from here, never from `os` or `sys`.
    """

    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)
    variables: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    cwd: Path = field(default_factory=Path.cwd)
    home: Path = field(default_factory=Path.home)
    now: Callable[[], float] = time.time
    """Seconds since the epoch."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds on a clock that never goes back."""

    def _folder(self, variable: str, default: str) -> Path:
        override = self.variables.get(variable)
        return Path(override) if override else Path(default)

    @property
    def cache_folder(self) -> Path:
        """Where what can be made again lives: virtual environments, downloaded programs (`DEVENV_CACHE`)."""
        return self._folder("DEVENV_CACHE", platformdirs.user_cache_dir("devenv"))

    @property
    def data_folder(self) -> Path:
        """Where what must not be lost lives: local databases, seeds of secrets, 0700 (`DEVENV_DATA`)."""
        return self._folder("DEVENV_DATA", platformdirs.user_data_dir("devenv"))


@dataclass(frozen=True)
class Session:
    """One run of `devenv`: what it gets from outside, and what the global flags say.

    Attributes:
        environment: streams, variables, working folder, clocks.
        folder: `--project`, or None to look from the working folder upwards.
        output: `-o`: text for a person, or JSON lines on standard output.
        quiet: how often `-q` was given: 1 leaves what is important, 2 only errors.
        verbose: how often `-v` was given: 1 also shows the output of programs.
        color: False with `--no-color`; otherwise each stream decides.
    """

    environment: Environment = field(default_factory=Environment)
    folder: Path | None = None
    output: Literal["text", "json"] = "text"
    quiet: int = 0
    verbose: int = 0
    color: bool = True
