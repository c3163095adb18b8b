"""Files that devenv keeps: written whole or not at all, changed by one at a time. Foreign ones: read within bounds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_ABANDONED_SECONDS = 60.0
"""How old a half-written file must be to be one of a process that was killed."""


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Writes a file, whole or not at all: under another name in the same folder, then renamed.

    Args:
        path: what it replaces; a link in its place is replaced, not followed.
        text: UTF-8.
        mode: of the new file.

    Raises:
        OSError: there is no room, or no right.
    """
    _remove_abandoned(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with os.fdopen(file, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(file)  # otherwise a crash of the machine may leave the new name with no content
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _remove_abandoned(path: Path) -> None:
    """Removes what writers of this file left that were killed: it may hold secrets."""
    for left in path.parent.glob(f".{path.name}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()


class _Held:
    """A lock of this process: one thread at a time, which may take it again while it has it."""

    def __init__(self) -> None:
        self.thread = threading.RLock()
        self.depth = 0
        self.file = -1


_held: dict[Path, _Held] = {}
_held_guard = threading.Lock()


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Holds a lock file: one thread of one process at a time reads, changes and writes what it stands for.

    It goes with the process that has it, whatever ends that. Within a thread it may be entered again.

    Args:
        path: the lock file, which is made (0600) with its folder (0700) and stays.

    Raises:
        OSError: it cannot be made.
    """
    with _held_guard:
        held = _held.setdefault(path, _Held())
    with held.thread:
        if held.depth == 0:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            held.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        held.depth += 1
        try:
            if held.depth == 1:
                fcntl.flock(held.file, fcntl.LOCK_EX)
            yield
        finally:
            held.depth -= 1
            if held.depth == 0:
                os.close(held.file)


def read_regular(path: Path, limit: int) -> bytes | None:
    """The content of a regular file of at most `limit` bytes; None for a device, a pipe, or a larger file.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would wait for a writer
    with os.fdopen(file, "rb") as stream:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            return None
        return stream.read(limit)
