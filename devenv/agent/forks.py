"""What is common to all processes that a warm process forks: how they begin, and the end of all that they start."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from typing import Collection, Iterator, List, Optional, Tuple

_CHUNK = 262_144
_MARK = "DEVENV_FORK"
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2): what a child starts and leaves behind comes to us, to be ended."""


class Children:
    """The ends of this process's children, to be waited for together with everything else.

    Attributes:
        file: readable when a child may have ended.
    """

    def __init__(self) -> None:
        self.file, self._woken = os.pipe()
        for end in self.files():
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)

    def files(self) -> List[int]:
        """What a child must not hold open."""
        return [self.file, self._woken]

    def ended(self) -> Iterator[Tuple[int, int]]:
        """The children that ended since the last time: process id and status, as `os.waitpid` gives them."""
        read_now(self.file)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            yield pid, status


def isolate(result: int, output: int, files: List[int]) -> None:
    """Gives the process that was just forked a process group and streams of its own, and nothing inherited.

    Args:
        result: the descriptor on which it answers.
        output: what becomes standard output and error.
        files: descriptors of the parent that must not stay open.
    """
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for file in files:
        with contextlib.suppress(OSError):
            os.close(file)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdout = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)
    sys.stderr = open(2, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)
    os.set_inheritable(result, False)


def kill_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Sends a signal to a fork and all that it started; nothing happens when they are gone."""
    with contextlib.suppress(OSError):
        os.killpg(pid, number)


def mark() -> None:
    """Has what this fork starts carry its process id; see `end_strays`."""
    os.environ[_MARK] = str(os.getpid())


def end_strays(mine: Collection[int]) -> None:
    """Ends processes that left their group and outlived the fork that started them; they were handed to us.

    Args:
        mine: the children that are to live, and with them what they started after `mark`.
    """
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as stream:
            found = [int(word) for word in stream.read().split()]
    except (OSError, ValueError):
        return
    for pid in found:
        if pid not in mine and _marked(pid) not in mine:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _marked(pid: int) -> int:
    """The fork that started a process; 0 when it is not marked."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            found = [each for each in stream.read().split(b"\0") if each.startswith(_MARK.encode() + b"=")]
    except OSError:
        return 0
    number = found[-1].partition(b"=")[2] if found else b""
    return int(number) if number.isdigit() else 0


def read_now(file: int) -> Optional[bytes]:
    """What can be read now: None when nothing, b"" at the end."""
    try:
        return os.read(file, _CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""
