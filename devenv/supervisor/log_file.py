"""The logs of the components: one file each, a time before every line, bounded."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone
from pathlib import Path

LIMIT = 10 * 1024 * 1024
"""Bytes after which a log becomes `COMPONENT.log.1`, in place of the former one."""


def stamp(seconds: float) -> str:
    """A time as it stands before each line: UTC, microseconds, sorts as text."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(line: str) -> tuple[float, str] | None:
    """The time and the text of a line that `LogFile` wrote; None for anything else."""
    moment, separator, text = line.partition(" ")
    if not separator or len(moment) != 27 or not moment.endswith("Z"):
        return None
    try:
        at = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return at.timestamp(), text


class LogFile:
    """Appends lines to one log.

    A full disk never stops the component: what cannot be written is dropped and counted, and the count is
    written when there is room again. A log whose folder was deleted begins anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._dropped = 0

    def write(self, text: str) -> None:
        """Appends one line."""
        moment = stamp(time.time())
        with self._lock:
            lost = f"{moment} ({self._dropped} lines were not written: the disk was full)\n" if self._dropped else ""
            try:
                self._append(f"{lost}{moment} {text}\n".encode())
            except OSError:
                self._dropped += 1
            else:
                self._dropped = 0

    def _append(self, data: bytes) -> None:
        try:
            stream = self.path.open("ab", buffering=0)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
            stream = self.path.open("ab", buffering=0)
        with stream:
            stream.write(data)
            size = stream.tell()
        if size > LIMIT:
            self.path.replace(self.path.with_name(self.path.name + ".1"))
