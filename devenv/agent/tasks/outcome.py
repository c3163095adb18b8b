"""What a test run says of itself, as plain data: each event is one line of JSON from the run's own process."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Iterable

_XCOM_LENGTH = 300
_XCOM_KEYS = 20


class Events:
    """Writes events to a descriptor, whole lines."""

    def __init__(self, file: int) -> None:
        self._file = file

    def send(self, kind: str, **fields: Any) -> None:
        """Sends one event.

        Kinds: `dag` (file), `run` (run_id, existing, bare), `started` (task_id, map_index), `finished` (state, seconds,
        xcoms, problem), `left_out` (task_id, map_index, state), `refused` (reason, message), `broke` (message),
        `debugger` (port: an editor may attach), `input` (a line is wanted from the terminal),
        `connection` (found, type, works, message).
        """
        data = json.dumps({"event": kind, **fields}, default=str).encode("utf-8", "replace") + b"\n"
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]


class Refusal(Exception):
    """The run cannot begin; `reason` is for programs, the text for people, `fields` say what there is instead."""

    def __init__(self, reason: str, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.reason = reason
        self.fields = fields


class Interrupted(Exception):
    """The run was given up before it began."""


def shown(pushed: Iterable[Any]) -> Dict[str, str]:
    """XComs as they are shown: key → a bounded text of the value.

    Args:
        pushed: pairs of a key and a value.
    """
    found: Dict[str, str] = {}
    for key, value in pushed:
        if len(found) == _XCOM_KEYS:
            break
        text = repr(value)
        found[str(key)] = text if len(text) <= _XCOM_LENGTH else f"{text[:_XCOM_LENGTH]}… ({len(text)} characters)"
    return found
