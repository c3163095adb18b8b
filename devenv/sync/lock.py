"""One watch per project: a lock that says who holds it and goes with the process that does."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devenv.errors import RefusedError

_NAME = "watch.lock"
_LOOKS = 5
_LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Holder:
    """The process that watches.

    Attributes:
        pid: of devenv; 0 when the lock does not tell.
        since: seconds since the epoch.
    """

    pid: int
    since: float


class AlreadyWatched(RefusedError):
    """Another `devenv watch` or `devenv up` watches this folder; two would undo each other's work.

    Use the one that runs, or end it (Ctrl-C in its terminal) and start again. A lock is never stale: it goes with its
    process.
    """

    code = "DEVENV-524"

    def __init__(self, folder: Path, holder: Holder, now: float) -> None:
        who = f"process {holder.pid}" if holder.pid else "another process"
        running = f", for {_span(now - holder.since)}" if holder.since else ""
        super().__init__(
            f"{folder} is already watched by {who}{running}",
            hint="Ctrl-C in its terminal ends it; it keeps the DAG volume in step",
        )
        self.holder = holder


class WatchLock:
    """Holds `.devenv/watch.lock` from construction to `close`.

    Raises:
        AlreadyWatched: another process has it.
    """

    def __init__(self, state_folder: Path, now: Callable[[], float] = time.time) -> None:
        self._file = os.open(state_folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if not _lock_soon(self._file):
            holder = _read(self._file)
            os.close(self._file)
            raise AlreadyWatched(state_folder.parent, holder, now())
        body = json.dumps({"pid": os.getpid(), "since": now()}).encode()
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, body, 0)

    def close(self) -> None:
        """Lets go; the file stays, empty."""
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> WatchLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def holder(state_folder: Path) -> Holder | None:
    """Who watches the project with this state folder now, or None."""
    try:
        file = os.open(state_folder / _NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return None if _lock(file) else _read(file)
    finally:
        os.close(file)


def _lock_soon(file: int) -> bool:
    """As `_lock`, tried again for a moment: `holder` has the lock while it looks."""
    for _ in range(_LOOKS):
        if _lock(file):
            return True
        time.sleep(_LOOK_SECONDS)
    return False


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: int) -> Holder:
    with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError):
        raw = json.loads(os.pread(file, 4096, 0))
        return Holder(int(raw["pid"]), float(raw["since"]))
    return Holder(0, 0.0)


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
