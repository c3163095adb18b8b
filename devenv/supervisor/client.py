"""Speaks to the supervisor of an environment, and starts one where there is none."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from devenv import process
from devenv.supervisor.component import RECORD, ComponentSpec, ComponentState
from devenv.supervisor.errors import SupervisorFailed

_ANSWER_SECONDS = 60.0
_START_SECONDS = 15.0


@dataclass(frozen=True)
class Answer:
    """What the supervisor says about itself with each answer.

    Attributes:
        pid: of the supervisor.
        holders: process ids of the clients that hold the environment: `devenv up` in the foreground.
        components: each as it is.
        revisions: component → the `ComponentSpec.revision` that it runs with.
    """

    pid: int
    holders: tuple[int, ...]
    components: tuple[ComponentState, ...]
    revisions: dict[str, str]


class SupervisorClient:
    """A connection to a supervisor. One thread asks; what the supervisor tells unasked goes to a listener of its own.

    Raises (all methods):
        SupervisorFailed: it is gone, or does not answer.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        self._token = record["token"]
        self.pid: int = record["pid"]
        self.logs = Path(record["logs"])
        self._socket = socket.create_connection(("127.0.0.1", record["port"]), timeout=_ANSWER_SECONDS)
        self._stream = self._socket.makefile("rwb")
        self._lock = threading.Lock()

    @classmethod
    def connect(cls, data: Path) -> SupervisorClient | None:
        """The supervisor of the environment with this data folder; None when there is none."""
        try:
            client = cls(json.loads((data / RECORD).read_text()))
        except (OSError, ValueError, KeyError):
            return None  # none, or one that was killed and left its record
        try:
            client.status()
        except SupervisorFailed:
            client.close()
            return None  # another program has its port now
        return client

    @classmethod
    def connect_or_start(cls, data: Path, logs: Path) -> SupervisorClient:
        """As `connect`, after starting a supervisor where there is none."""
        client = cls.connect(data)
        if client is not None:
            return client
        data.mkdir(parents=True, mode=0o700, exist_ok=True)
        logs.mkdir(parents=True, mode=0o700, exist_ok=True)
        errors = logs / "supervisor.log"
        with errors.open("ab") as stream:
            child = process.start(
                [process.interpreter(), "-m", "devenv.supervisor.supervisor", data, logs],
                stdin=DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=data,
            )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            client = cls.connect(data)
            if client is not None:
                process.leave(child)
                return client
            if child.poll() not in (None, 3):  # 3: another `up` was faster, its supervisor answers soon
                break
            time.sleep(0.02)
        process.stop(child)
        lines = errors.read_text(errors="replace").splitlines()[-15:]
        raise SupervisorFailed("The local supervisor did not start", detail="\n".join(lines))

    def status(self) -> Answer:
        """The components as they are."""
        return self._ask("status")

    def apply(self, components: Sequence[ComponentSpec]) -> Answer:
        """Starts what does not run, and starts again what runs with other settings."""
        return self._ask("apply", components=[component.to_json() for component in components])

    def stop_components(self, names: Sequence[str]) -> Answer:
        """Ends these components."""
        return self._ask("stop-components", names=list(names))

    def hold(self) -> Answer:
        """From now on, the end of this connection, by whatever cause, ends the environment."""
        return self._ask("hold", pid=os.getpid())

    def release(self) -> Answer:
        """Takes `hold` back."""
        return self._ask("release")

    def stop(self, told: Callable[[str], None]) -> None:
        """Ends the environment in order; `told` is called with each component whose turn it is."""
        self._ask("stop", told=lambda message: told(message["component"]))
        with contextlib.suppress(OSError, ValueError):
            while self._stream.readline():
                pass  # until the supervisor itself has ended, which ends the connection

    def listen(self, told: Callable[[dict[str, Any]], None]) -> None:
        """Calls `told` with what happens, until another thread closes this connection or the supervisor ends."""
        self._ask("listen", told=told)
        self._socket.settimeout(None)
        with contextlib.suppress(OSError, ValueError):
            while line := self._stream.readline():
                told(json.loads(line))

    def close(self) -> None:
        """Ends the connection; never raises."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for each in (self._stream, self._socket):
            with contextlib.suppress(OSError, ValueError):
                each.close()

    def __del__(self) -> None:
        if hasattr(self, "_stream"):  # not so when the connection was refused
            self.close()

    def _ask(self, what: str, *, told: Callable[[dict[str, Any]], None] | None = None, **facts: Any) -> Answer:
        with self._lock:
            try:
                self._stream.write(json.dumps({"token": self._token, "do": what, **facts}).encode() + b"\n")
                self._stream.flush()
                while line := self._stream.readline():
                    message = json.loads(line)
                    if "answer" in message:
                        return Answer(
                            pid=message["pid"],
                            holders=tuple(message["holders"]),
                            components=tuple(ComponentState.from_json(raw) for raw in message["components"]),
                            revisions=message["revisions"],
                        )
                    if told is not None:
                        told(message)
            except (OSError, ValueError) as error:
                raise SupervisorFailed(f"The local supervisor does not answer: {error}", hint="devenv up") from error
        raise SupervisorFailed("The local supervisor has ended", hint="devenv up")


def supported() -> bool:
    """Whether the local backend runs on this system."""
    return sys.platform in ("linux", "darwin")
