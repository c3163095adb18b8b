"""What goes wrong, said so that a person can act on it.

An error carries a message (what failed and why), a hint (the next command to type), a stable code
for the catalogue in the documentation, and the exit code of the process. One boundary, in
`devenv.__main__`, turns an error into text or JSON; nothing else prints one.

Each room defines the errors that it raises, as subclasses of `DevenvError` with a code of their own;
the docstring of such a class is its page in the catalogue.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The exit codes of `devenv`; scripts must treat any other as failure."""

    OK = 0
    FAILED = 1
    """What was asked for was looked at or done, and the answer is no: a DAG does not parse, a run failed."""
    USAGE = 2
    """A flag, an argument or `devenv.toml` is wrong; nothing was changed."""
    MISSING = 3
    """Something that devenv needs is missing or not running: Docker, minikube, memory, a port."""
    PLATFORM = 4
    """The cluster, Airflow, Vault or the database failed or did not answer."""
    REFUSED = 5
    """Going on could lose or overwrite something that is not ours; the message says how to allow it."""
    INTERNAL = 70
    """A defect of devenv; the crash report's path is printed."""
    INTERRUPTED = 130
    """Ctrl-C."""


class DevenvError(Exception):
    """Base of every error that a user can cause or act on.

    Attributes:
        message: what failed, and why; one or a few lines, no trailing full stop needed.
        hint: the next command to type or thing to do; None when the message says it all.
        detail: output of a program or lines of a file that back the message, shown below it.
    """

    code: ClassVar[str] = "DEVENV-000"
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    of_silence: ClassVar[bool] = False
    """Whether something did not answer, for which a stopped environment is the reason where it is stopped."""

    def __init__(self, message: str, *, hint: str | None = None, detail: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = detail


class UsageError(DevenvError):
    """A flag or an argument does not make sense; nothing was changed."""

    code = "DEVENV-001"
    exit_code = ExitCode.USAGE


class MissingError(DevenvError):
    """Something that devenv needs on this machine is missing, not running or too small."""

    code = "DEVENV-002"
    exit_code = ExitCode.MISSING


class PlatformError(DevenvError):
    """The cluster, Airflow, Vault or the database failed or did not answer."""

    code = "DEVENV-003"
    exit_code = ExitCode.PLATFORM


class RefusedError(DevenvError):
    """devenv stopped because going on could lose or overwrite something that is not its own."""

    code = "DEVENV-004"
    exit_code = ExitCode.REFUSED


class CommandFailed(PlatformError):
    """A program that devenv started ended with an error; its last lines are shown below the message."""

    code = "DEVENV-010"

    def __init__(self, command: list[str], returncode: int, output: str, *, hint: str | None = None) -> None:
        import shlex

        super().__init__(
            f"`{shlex.join(command)}` ended with exit code {returncode}",
            hint=hint,
            detail=output.strip() or None,
        )
        self.command = command
        self.returncode = returncode
        self.output = output


class ProgramMissing(MissingError):
    """A program that devenv needs is not on PATH."""

    code = "DEVENV-011"

    def __init__(self, program: str, *, hint: str | None = None) -> None:
        super().__init__(f"{program} is not installed, or not on PATH", hint=hint)
        self.program = program


class TimedOut(PlatformError):
    """Something did not become ready in time; the message says what was waited for and what was seen last."""

    code = "DEVENV-012"
