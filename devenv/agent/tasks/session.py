"""One connection of the laptop to the process that runs tasks: starts it where there is none, then passes bytes on.

The laptop's first frame is `hello` with `folders` (synced root → where Airflow sees it), `linger` (seconds for which
the process waits for the next run) and `owner` (a process whose end is its own). What follows goes to the process as it
is; `devenv.agent.tasks.server` answers.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import Any, Dict, List

from devenv.agent import frames
from devenv.agent.frames import Decoder, Frame, FrameError
from devenv.agent.warm_start import configuration_version, connect

_CHUNK = 262_144


def main() -> None:
    """Runs on the standard streams; whatever is printed goes to standard error."""
    target = os.dup(1)
    os.dup2(2, 1)
    _write(target, frames.PREAMBLE)
    try:
        first, rest = _hello()
        options = {
            "folders": first["folders"],
            "dags": "dags",
            "linger": float(first.get("linger") or 0.0),
            "owner": int(first.get("owner") or 0),
            "configuration": list(configuration_version()),
        }
        connection = connect("devenv.agent.tasks.server", options)
    except (OSError, RuntimeError, FrameError, KeyError, TypeError, ValueError) as error:
        with contextlib.suppress(OSError):
            _write(target, frames.encode("refused", reason="start", message=str(error)))
        return
    with connection, contextlib.suppress(OSError):
        if rest:
            connection.sendall(rest)
        _relay(connection, target)


def _hello() -> Any:
    """The fields of the first frame, and what arrived after it."""
    decoder = Decoder()
    found: List[Frame] = []
    while not found:
        data = os.read(0, _CHUNK)
        if not data:
            raise FrameError("the laptop left before it said hello")
        found = list(decoder.feed(data))
    if found[0].type != "hello":
        raise FrameError("the first frame is no hello")
    fields: Dict[str, Any] = found[0].fields
    return fields, b"".join(frames.encode(each.type, each.payload, **_fields(each)) for each in found[1:])


def _fields(frame: Frame) -> Dict[str, Any]:
    return {name: value for name, value in frame.fields.items() if name != "type"}


def _relay(connection: socket.socket, target: int) -> None:
    """Passes bytes on in both directions until either side ends; a run ends with its connection."""
    while True:
        ready, _, _ = select.select([0, connection.fileno()], [], [])
        if connection.fileno() in ready:
            data = connection.recv(_CHUNK)
            if not data:
                return
            _write(target, data)
        if 0 in ready:
            data = os.read(0, _CHUNK)
            if not data:
                return
            connection.sendall(data)


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
