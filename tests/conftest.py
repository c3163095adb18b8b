"""What holds for every test: unit tests start no program and reach nothing beyond this machine.

Tests in other folders than `tests/unit`, or marked `local` or `cluster`, use the real thing.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

UNIT = Path(__file__).parent / "unit"


class Escaped(AssertionError):
    """A unit test tried to start a program, or to reach another machine."""


@pytest.fixture(autouse=True)
def hermetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuses programs and foreign addresses in unit tests."""
    marked = any(request.node.get_closest_marker(name) for name in ("local", "cluster"))
    if marked or not request.path.is_relative_to(UNIT):
        return

    def refuse(*arguments: Any, **_options: Any) -> NoReturn:
        raise Escaped(f"a unit test tried to start a program: {arguments!r}")

    class RefusedPopen(subprocess.Popen):  # a class still: annotations and isinstance go on working
        _child_created = False  # what its finaliser asks for
        returncode = 0

        def __init__(self, args: Any, *_: Any, env: Mapping[str, str] | None = None, **_options: Any) -> None:
            program = args if isinstance(args, str) else str(args[0])
            if shutil.which(program, path=(env or os.environ).get("PATH")) is None:
                raise FileNotFoundError(program)  # nothing would have been started
            raise Escaped(f"a unit test tried to start a program: {args!r}")

    monkeypatch.setattr(subprocess, "Popen", RefusedPopen)
    for name in ("system", "posix_spawn", "posix_spawnp", "execv", "execve", "execvp", "execvpe"):
        monkeypatch.setattr(os, name, refuse)

    connect = socket.socket.connect

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise Escaped(f"a unit test tried to reach {address!r}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)


@dataclass
class Result:
    """One run of `devenv` inside the test's process."""

    exit_code: int
    stdout: str
    stderr: str


class Screen(io.StringIO):
    """A stream that may say that it is a terminal."""

    def __init__(self, text: str = "", *, terminal: bool = False) -> None:
        super().__init__(text)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    @property
    def encoding(self) -> str:
        return "utf-8"


@dataclass
class Devenv:
    """Runs `devenv ARGUMENTS` with streams, variables and folders of its own."""

    cwd: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __call__(
        self,
        *arguments: str,
        stdin: str = "",
        terminal: bool = False,
        variables: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Result:
        from devenv.__main__ import main
        from devenv.environment import Environment, Session

        environment = Environment(
            stdin=Screen(stdin, terminal=terminal),
            stdout=Screen(terminal=terminal),
            stderr=Screen(terminal=terminal),
            variables={**self.variables, **(variables or {})},
            cwd=cwd or self.cwd,
            home=self.cwd,
        )
        code = main(arguments, Session(environment))
        return Result(code, environment.stdout.getvalue(), environment.stderr.getvalue())  # type: ignore[attr-defined]

    def state_folder(self) -> Path:
        """`.devenv/` of the project, made as devenv makes it."""
        from devenv.environment import Environment
        from devenv.project import Project

        return Project.find(self.cwd, Environment(variables=self.variables, home=self.cwd)).make_state_folder()


@pytest.fixture
def project_folder(tmp_path: Path) -> Path:
    """An empty project: a folder with a folder `dags/`."""
    folder = tmp_path / "shop"
    (folder / "dags").mkdir(parents=True)
    return folder


@pytest.fixture
def devenv(project_folder: Path, tmp_path: Path) -> Devenv:
    """Runs commands in `project_folder`, with caches and data below the test's own folder."""
    return Devenv(
        project_folder,
        {
            "PATH": "/nonexistent",
            "DEVENV_CACHE": str(tmp_path / "cache"),
            "DEVENV_DATA": str(tmp_path / "data"),
            "TERM": "xterm-256color",
        },
    )
