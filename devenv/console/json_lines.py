"""Events and results as JSON lines in the manner of CloudEvents 1.0 (`docs/reference/json.md`)."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, TextIO

from devenv.events import TYPES, Event, data_of
from devenv.foreign_text import json_safe


class JsonLines:
    """Writes one object per line; takes events from any thread.

    Args:
        stream: standard output.
        now: seconds since the epoch.
        gone: called once when nobody reads any more.
    """

    def __init__(self, stream: TextIO, now: Callable[[], float], gone: Callable[[], None]) -> None:
        self._stream = stream
        self._now = now
        self._gone = gone
        self._lock = threading.Lock()
        self._count = 0
        self._closed = False

    def report(self, event: Event) -> None:
        """Writes an event; never raises."""
        self.record(TYPES.get(type(event), "devenv.event"), data_of(event))

    def record(self, kind: str, data: Mapping[str, Any]) -> None:
        """Writes a line of type `kind`; never raises."""
        with self._lock:
            if self._closed:
                return
            self._count += 1
            line = {
                "specversion": "1.0",
                "id": str(self._count),
                "source": "devenv",
                "type": kind,
                "time": datetime.fromtimestamp(self._now(), timezone.utc).isoformat(timespec="milliseconds"),
                "data": data,
            }
            try:
                self._stream.write(json_safe(json.dumps(line, default=_plain, ensure_ascii=False)) + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # the reader is gone, or the stream is closed
                self._closed = True
        if self._closed:
            self._gone()


def _plain(value: object) -> object:
    """What JSON has no form for: tuples inside data are lists already, paths and the like are text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
