"""The only room that starts programs.

Commands are lists of arguments, never shell strings. A failure carries the command and its output.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from devenv.errors import CommandFailed, ProgramMissing, TimedOut


@dataclass(frozen=True)
class Completed:
    """A program that ended: its exit code, and its output decoded as UTF-8 with bad bytes replaced."""

    command: list[str]
    returncode: int
    stdout: str
    stderr: str


def which(program: str, variables: Mapping[str, str] | None = None) -> str | None:
    """The path of a program on PATH (of `variables` when given), or None."""
    return shutil.which(program, path=(variables or {}).get("PATH"))


def run(
    command: Sequence[str | Path],
    *,
    stdin: str | None = None,
    timeout: float | None = None,
    variables: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    user: tuple[int, int] | None = None,
) -> Completed:
    """Runs a program to its end and gives back its output.

    Args:
        command: the program and its arguments.
        stdin: text for its standard input; without it, standard input is empty.
        timeout: seconds after which it is killed.
        variables: its whole environment; without it, that of devenv.
        cwd: its working folder.
        check: raise when it ends with another exit code than 0.
        user: for root only: the numbers of the user and the group to run it as.

    Raises:
        ProgramMissing: there is no such program.
        CommandFailed: it ended with an error and `check` is set.
        TimedOut: it did not end in time.
    """
    arguments = [str(part) for part in command]
    try:
        done = subprocess.run(
            arguments,
            input=stdin if stdin is not None else "",
            capture_output=True,
            timeout=timeout,
            env=dict(variables) if variables is not None else None,
            cwd=cwd,
            check=False,
            encoding="utf-8",
            errors="replace",
            user=user and user[0],
            group=user and user[1],
            extra_groups=[] if user else None,
        )
    except FileNotFoundError as error:
        if cwd is not None and not Path(cwd).is_dir():
            raise
        raise ProgramMissing(arguments[0]) from error
    except subprocess.TimeoutExpired as error:
        raise TimedOut(f"`{' '.join(arguments[:4])} …` did not end within {timeout:.0f} s") from error
    if check and done.returncode != 0:
        raise CommandFailed(arguments, done.returncode, done.stderr or done.stdout)
    return Completed(arguments, done.returncode, done.stdout, done.stderr)


def start(
    command: Sequence[str | Path],
    *,
    stdin: int | IO[Any] | None = subprocess.DEVNULL,
    stdout: int | IO[Any] | None = subprocess.PIPE,
    stderr: int | IO[Any] | None = subprocess.PIPE,
    variables: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    own_session: bool = True,
) -> subprocess.Popen[bytes]:
    """Starts a program and returns at once; the caller ends it with `stop` (or `running`).

    With `own_session`, Ctrl-C in the terminal reaches devenv alone, which then ends its children in order.

    Raises:
        ProgramMissing: there is no such program.
    """
    arguments = [str(part) for part in command]
    try:
        return subprocess.Popen(
            arguments,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=dict(variables) if variables is not None else None,
            cwd=cwd,
            start_new_session=own_session,
        )
    except FileNotFoundError as error:
        raise ProgramMissing(arguments[0]) from error


def stop(child: subprocess.Popen[Any], *, grace: float = 3.0) -> int:
    """Ends a child: SIGTERM, `grace` seconds, SIGKILL. Returns its exit code."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGTERM)
        try:
            child.wait(grace)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    return int(child.returncode)


def leave(child: subprocess.Popen[Any]) -> None:
    """Lets a child go on when devenv ends; one that ends before is reaped."""
    threading.Thread(target=child.wait, name=f"child {child.pid}", daemon=True).start()


@contextlib.contextmanager
def running(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`start` as a context: the child is ended on the way out, whatever happened."""
    child = start(command, **options)
    try:
        yield child
    finally:
        stop(child)


def interpreter() -> str:
    """The Python that runs devenv."""
    return sys.executable
