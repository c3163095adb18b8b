"""The one place where an error becomes text, JSON and an exit code, and where Ctrl-C ends a command."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import typer

from devenv.cli.context import close_console, console, session_of, stopped_instead_of
from devenv.environment import Environment, Session
from devenv.errors import DevenvError, ExitCode, UsageError


class Defect(DevenvError):
    """devenv itself failed: a defect, not something that you did. What it was doing is in the crash report.

    The report holds the command line, versions and the traceback, no values of variables. Please attach it
    to an issue.
    """

    code = "DEVENV-070"
    exit_code = ExitCode.INTERNAL


class BadArgument(UsageError):
    """A flag or an argument of the command is not known, is missing, or has a value that it cannot have."""

    code = "DEVENV-104"


def run(arguments: Sequence[str], session: Session | None = None) -> int:
    """Runs a command; returns its exit code, after telling what went wrong.

    Args:
        arguments: without the program's name.
        session: streams, variables and working folder; None takes the process's own.
    """
    from devenv.cli.app import root

    current = session or Session()
    with session_of(current), _signals(current.environment):
        try:
            with root().make_context("devenv", list(arguments)) as context:
                return int(root().invoke(context) or 0)
        except typer.Exit as end:
            return end.exit_code
        except DevenvError as error:
            return _failed(error)
        except typer.TyperException as error:
            return _failed(_bad_argument(error))
        except (KeyboardInterrupt, typer.Abort):
            return _interrupted()
        except BrokenPipeError:
            return _reader_gone(current.environment)
        except Exception as error:  # noqa: BLE001 (what is not a DevenvError is a defect)
            return _failed(_defect(error, arguments, current.environment))
        finally:
            close_console()


def _failed(error: DevenvError) -> int:
    error = stopped_instead_of(error) or error
    console().error(error)
    return int(error.exit_code)


def _interrupted() -> int:
    if console().reader_gone:
        return 128 + signal.SIGPIPE
    return int(ExitCode.INTERRUPTED)


def _reader_gone(environment: Environment) -> int:
    """`devenv logs | head`: the reader has what it wanted; the interpreter must not complain when it flushes."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), environment.stdout.fileno())
    return 128 + signal.SIGPIPE


def _bad_argument(error: typer.TyperException) -> BadArgument:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "devenv"
    message = error.format_message().rstrip(".").replace("Value error, ", "")
    message = re.sub(r"[ .]*\(Possible options: (.*)\)", r"; did you mean \1?", message)
    message = re.sub(r"\. Choose from:\s*", ": ", message)
    message = re.sub(r",\n\s*", ", ", message)
    return BadArgument(message[:1].lower() + message[1:], hint=f"{command} --help")


def _defect(error: Exception, arguments: Sequence[str], environment: Environment) -> Defect:
    text = _crash_report(error, arguments)
    folder = environment.cache_folder / "crashes"
    file = folder / f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(environment.now()))}-{os.getpid()}.txt"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")
    except OSError as cause:
        return Defect(f"devenv has a defect, and the crash report cannot be written: {cause}", detail=text)
    what = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    return Defect(f"devenv has a defect: {what}", hint=f"please attach {file} to an issue")


def _crash_report(error: Exception, arguments: Sequence[str]) -> str:
    from devenv import __version__

    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    lines = [
        f"devenv {__version__}, Python {platform.python_version()}, {system}",
        f"command: devenv {' '.join(arguments)}",
        f"folder of the program: {Path(__file__).parent.parent}",
        "",
        *traceback.format_exception(error),
    ]
    return "\n".join(lines)


def _say_at_once(environment: Environment, text: str) -> None:
    """Writes past the stream's buffer: a signal may come while a line is being written, and the buffer refuses then."""
    with contextlib.suppress(OSError, ValueError):
        os.write(environment.stderr.fileno(), text.encode())
        return
    with contextlib.suppress(OSError, ValueError, RuntimeError):  # not a file
        environment.stderr.write(text)
        environment.stderr.flush()


@contextlib.contextmanager
def _signals(environment: Environment) -> Iterator[None]:
    """First Ctrl-C, SIGTERM, SIGHUP: the command ends in order; second Ctrl-C: the process ends at once.

    Only the main thread of a process may set this up; elsewhere (a test) nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def second(_number: int, _frame: FrameType | None) -> None:
        os._exit(int(ExitCode.INTERRUPTED))

    def first(number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, second)
        if number == signal.SIGINT:
            _say_at_once(environment, "\nstopping; Ctrl-C again quits at once\n")
            raise KeyboardInterrupt
        sys.exit(128 + number)

    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(number, signal.signal(number, first)) for number in handled]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
