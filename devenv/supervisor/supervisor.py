"""Keeps the components of one environment running, and ends them in order.

    python -m devenv.supervisor.supervisor DATA_FOLDER LOG_FOLDER

A process of its own, one per environment (a lock in the data folder), so that `up --detach` can leave it. It
is spoken to over TCP on 127.0.0.1 with a token, both in a 0600 record: JSON lines, see `client.py`. While a
client *holds* the environment (`devenv up` in the foreground), losing that client ends the environment.

A component that ends is started again: at once, then after growing pauses of at most `LONGEST_PAUSE`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from typing import IO, Any

from devenv import process
from devenv.supervisor import guardian
from devenv.supervisor.component import RECORD, ComponentSpec, ComponentState
from devenv.supervisor.log_file import LogFile

PAUSES = (0.2, 1.0, 2.0, 4.0)
LONGEST_PAUSE = 8.0
"""Seconds between a crash and the next start, at most."""
STEADY = 30.0
"""Seconds that a component must run before its next crash counts as its first."""
LOOP = 3
"""Crashes in a row that make a crash loop."""
LONELY = 20.0
"""Seconds after which a supervisor that nobody gave a component ends."""
LOCK = "supervisor.lock"
_LAST_LINES = 25
_LINE_LIMIT = 16_384


Tell = Callable[[dict[str, Any]], None]
"""Takes a message for a client; never raises."""


class Supervised:
    """One component: its process, its log, its restarts. Runs in a thread of its own."""

    def __init__(self, spec: ComponentSpec, logs: Path, tell: Tell) -> None:
        self.spec = spec
        self._log = LogFile(logs / f"{spec.name}.log")
        self._tell = tell
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._wake = threading.Event()
        self._ending = False
        self._child: Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._state = ComponentState(spec.name, "running", since=time.time())
        self.restarts = 0
        self._thread = threading.Thread(target=self._live, name=spec.name, daemon=True)

    def start(self) -> None:
        """Starts it."""
        self._thread.start()

    def state(self) -> ComponentState:
        """What it does now."""
        return self._state

    def end(self, *, grace: float | None = None) -> None:
        """Asks it to end; `join` waits. A `grace` shorter than its own kills it after these seconds."""
        with self._lock:
            self._ending = True
            child = self._child
        self._wake.set()
        if child is not None and child.poll() is None:
            if grace is not None:
                self._release_guardian(child)
            else:
                with contextlib.suppress(ProcessLookupError):
                    child.terminate()

    def join(self) -> None:
        """Waits until it has ended."""
        self._thread.join()

    def _live(self) -> None:
        crashes = 0
        while True:
            started = time.monotonic()
            code = self._run_once()
            if self._ending:
                self._change("stopped", exit_code=code)
                return
            crashes = 1 if time.monotonic() - started > STEADY else crashes + 1
            pause = PAUSES[crashes - 1] if crashes <= len(PAUSES) else LONGEST_PAUSE
            looping = crashes >= LOOP
            self._log.write(f"devenv: {self.spec.name} ended with exit code {code}; started again in {pause:g} s")
            self._change("looping" if looping else "waiting", exit_code=code, lines=tuple(self._lines))
            # A crash loop is told once, when it becomes one.
            if crashes <= LOOP:
                self._tell(
                    {
                        "event": "crashed",
                        "component": self.spec.name,
                        "exit_code": code,
                        "lines": list(self._lines),
                        "pause": pause,
                        "looping": looping,
                    }
                )
            if self._wake.wait(pause):
                self._change("stopped", exit_code=code)
                return
            self.restarts += 1

    def _run_once(self) -> int:
        spec = self.spec
        options = {"grace": spec.grace, "signal": spec.stop_signal, "user": spec.user, "group": spec.group}
        self._lines.clear()
        with self._lock:
            if self._ending:
                return 0
            try:
                child = self._child = process.start(
                    [process.interpreter(), "-I", guardian.__file__, json.dumps(options), *spec.command],
                    stdin=PIPE,
                    stdout=DEVNULL if spec.errors_only else PIPE,
                    stderr=PIPE if spec.errors_only else STDOUT,
                    variables=spec.variables,
                    cwd=Path(spec.cwd),
                )
            except OSError as error:
                # A full process table, a working folder that was deleted: as a crash, tried again.
                self._lines.append(f"{spec.name} cannot be started: {error}")
                return 127
        self._change("running", pid=child.pid)
        output = child.stderr if spec.errors_only else child.stdout
        assert output is not None
        reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        reader.start()
        code = child.wait()
        reader.join(1.0)  # its last words; a process that escaped may hold the pipe
        with contextlib.suppress(OSError):
            self._release_guardian(child)
        return code

    @staticmethod
    def _release_guardian(child: Popen[bytes]) -> None:
        """Ends the pipe whose end its guardian takes for the supervisor's death: it hurries."""
        assert child.stdin is not None
        child.stdin.close()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while data := stream.readline(_LINE_LIMIT):
                text = data.decode(errors="replace").rstrip()
                self._lines.append(text)
                self._log.write(text)

    def _change(self, state: str, **facts: Any) -> None:
        last = self._state
        self._state = ComponentState(
            self.spec.name,
            state,
            restarts=self.restarts,
            since=time.time(),
            **{"exit_code": last.exit_code, "lines": last.lines, **facts},
        )
        self._tell({"event": "changed", "component": self.spec.name, "state": state})


class Supervisor:
    """All components of one environment, and the clients that ask about them."""

    def __init__(self, data: Path, logs: Path) -> None:
        self._data = data
        self._logs = logs
        self._token = secrets.token_urlsafe(24)
        self._components: dict[str, Supervised] = {}
        self._lock = threading.RLock()
        self._listeners: list[Any] = []
        self._holders: dict[int, int] = {}
        self._clients = 0
        self._ended = threading.Event()
        self._ending = False

    def run(self) -> int:
        """Serves until the environment is ended; 3 when another supervisor has it."""
        self._data.mkdir(parents=True, mode=0o700, exist_ok=True)
        with (self._data / LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 3
            server = socket.create_server(("127.0.0.1", 0))
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()
            self._write_record(server.getsockname()[1])
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, lambda *_: self._end_later())
            lonely_since = time.monotonic()
            while not self._ended.wait(2.0):
                if self._components or self._clients:
                    lonely_since = time.monotonic()
                elif time.monotonic() - lonely_since > LONELY:
                    break
            (self._data / RECORD).unlink(missing_ok=True)
        return 0

    def _write_record(self, port: int) -> None:
        record = {"pid": os.getpid(), "port": port, "token": self._token, "logs": str(self._logs)}
        temporary = self._data / f"{RECORD}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump(record, stream)
        temporary.replace(self._data / RECORD)

    def _accept(self, server: socket.socket) -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        stream = connection.makefile("rwb")
        with self._lock:
            self._clients += 1
        lock = threading.Lock()

        def answer(message: dict[str, Any]) -> None:
            with lock, contextlib.suppress(OSError, ValueError):
                stream.write(json.dumps(message).encode() + b"\n")
                stream.flush()

        try:
            while line := stream.readline():
                request = json.loads(line)
                if not hmac.compare_digest(str(request.get("token", "")), self._token):
                    return
                self._answer(request, answer, id(connection))
        except (OSError, ValueError):
            pass  # a client that died in the middle of a line
        finally:
            with self._lock:
                self._clients -= 1
                self._listeners = [listener for listener in self._listeners if listener is not answer]
                held = self._holders.pop(id(connection), 0)
                abandoned = bool(held) and not self._holders
            for each in (stream, connection):
                with contextlib.suppress(OSError, ValueError):
                    each.close()
            if abandoned:
                self._end(grace=guardian.ORPHANED_GRACE)

    def _answer(self, request: dict[str, Any], answer: Tell, connection: int) -> None:
        what = request["do"]
        if what == "hold":
            with self._lock:
                self._holders[connection] = int(request["pid"])
        elif what == "release":
            with self._lock:
                self._holders.pop(connection, None)
        elif what == "listen":
            with self._lock:
                self._listeners.append(answer)
        elif what == "apply":
            self._apply([ComponentSpec.from_json(raw) for raw in request["components"]])
        elif what == "stop-components":
            self._stop_components(request["names"])
        elif what == "stop":
            self._end(tell=answer)
        with self._lock:
            answer(
                {
                    "answer": what,
                    "pid": os.getpid(),
                    "holders": list(self._holders.values()),
                    "components": [asdict(component.state()) for component in self._components.values()],
                    "revisions": {name: component.spec.revision for name, component in self._components.items()},
                }
            )
        if what == "stop":
            self._ended.set()

    def _apply(self, specs: list[ComponentSpec]) -> None:
        """Starts what does not run, and starts again what runs with other settings."""
        for spec in specs:
            with self._lock:
                if self._is_ending():
                    return
                former = self._components.get(spec.name)
            if former is not None:
                same = (former.spec.command, former.spec.revision) == (spec.command, spec.revision)
                if same and former.state().state != "stopped":
                    continue
                former.end()
                former.join()
            component = Supervised(spec, self._logs, self._broadcast)
            with self._lock:
                if not self._is_ending():
                    self._components[spec.name] = component
                    component.start()

    def _is_ending(self) -> bool:
        return self._ending

    def _stop_components(self, names: list[str]) -> None:
        with self._lock:
            leaving = [self._components.pop(name) for name in names if name in self._components]
        for component in leaving:
            component.end()
        for component in leaving:
            component.join()

    def _end_later(self) -> None:
        """From a signal handler, which must not wait."""

        def end() -> None:
            self._end()
            self._ended.set()

        threading.Thread(target=end, daemon=True).start()

    def _end(self, *, grace: float | None = None, tell: Tell | None = None) -> None:
        """Ends the components, the highest tier first; those of one tier together."""
        with self._lock:
            self._ending = True
            components = list(self._components.values())
        for tier in sorted({component.spec.tier for component in components}, reverse=True):
            together = [component for component in components if component.spec.tier == tier]
            for component in together:
                if tell is not None:
                    tell({"event": "stopping", "component": component.spec.name})
                component.end(grace=grace)
            for component in together:
                component.join()
        if grace is not None:
            self._ended.set()

    def _broadcast(self, message: dict[str, Any]) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener(message)


def main(arguments: list[str]) -> int:
    """The supervisor's process."""
    data, logs = map(Path, arguments)
    return Supervisor(data, logs).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
