"""The process that has Airflow imported and forks for each test run; it has one thread, so that forking is safe.

It speaks frames (`devenv.agent.frames`) with each connection. From the laptop:

    run        payload: `devenv.agent.tasks.request.Request`   → output and event frames, then ended
    interrupt  as Ctrl-C in the run's terminal; a second one ends it at once
    typed      payload: a line, for a run that said `input`; empty: none will come
    pytest     payload: `devenv.agent.tasks.request.PytestRequest` → output, then ended
    connection payload: `devenv.agent.tasks.request.ConnectionRequest` → event, then ended
    package    name, last; payload: the next bytes of its zip  → packages, once it is whole

To the laptop: `ready` (release, packages: name → digest), `output` (payload: bytes of the run's output),
`event` (payload: JSON, see `devenv.agent.tasks.outcome`), `ended` (code, or signal). A run ends with its connection.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import selectors
import signal
import socket
import tempfile
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Set

from devenv.agent import frames
from devenv.agent.forks import Children, end_strays, kill_group, read_now
from devenv.agent.frames import Decoder, Frame, FrameError
from devenv.agent.parse import load_release
from devenv.agent.places import Places
from devenv.agent.preload import Preload
from devenv.agent.rehearsal import warm_up
from devenv.agent.tasks import connection as connection_test
from devenv.agent.tasks.carried import Carried
from devenv.agent.tasks.life import Streams, Warm, begin, live
from devenv.agent.tasks.log_output import route_structlog
from devenv.agent.tasks.private_database import make_template
from devenv.agent.tasks.rehearsal import rehearse
from devenv.agent.tasks.request import ConnectionRequest, PytestRequest, Request
from devenv.agent.testing import life as testing
from devenv.agent.warm_start import serve

_CHUNK = 65_536
_QUEUED = 1_048_576
"""Bytes that wait for a laptop that does not read; beyond them, the run's output is not read either."""
_OWNER_LOOK_SECONDS = 2.0
_PARTING_SECONDS = 1.0
"""How long debugpy's adapter may live after its run."""
_KILL_SECONDS = 5.0
"""How long a run may take to end after an interrupt."""


class _Run:
    """One run: its process, and what it has said that was not passed on yet."""

    def __init__(self, pid: int, *, result: int, output: int, typing: int, database: str, debugged: bool) -> None:
        self.pid = pid
        self.typing = [typing]
        self.result = result
        self.output = output
        self.database = database
        self.lines = bytearray()
        self.open: Set[int] = {result, output}
        self.status: Optional[int] = None
        self.kill_at = 0.0
        self.debugged = debugged
        self.parts_at = 0.0

    def type(self, line: bytes) -> None:
        """Passes on what was typed; nothing closes the pipe."""
        for file in self.typing:
            with contextlib.suppress(OSError):  # it ended, or does not read
                if line:
                    os.write(file, line)
                else:
                    os.close(file)
        if not line:
            self.typing = []


class _Connection:
    """One laptop."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.decoder = Decoder()
        self.outgoing = bytearray()
        self.run: Optional[_Run] = None


class Server:
    """The loop."""

    def __init__(self, listener: socket.socket, options: Mapping[str, Any], folder: str, memory: str) -> None:
        """Imports Airflow and does all that a run would otherwise have to do.

        Args:
            listener: where laptops come.
            options: `folders`, `dags`, `linger`, and `owner`: a process whose end is this one's, or 0.
            folder: for the databases of runs.
            memory: the file in which the names of modules are remembered.
        """
        from airflow import settings

        places = Places(options["folders"], options["dags"])
        self._linger = float(options["linger"])
        self._folder = folder
        release = load_release(places)
        template, configured = os.path.join(folder, "template.db"), str(settings.SQL_ALCHEMY_CONN or "")
        self._warm = Warm(release, places, template, configured, Carried(folder))
        self._owner = int(options.get("owner") or 0)
        route_structlog()
        warm_up(release)
        make_template(self._warm.template)
        rehearse(release, self._warm.template, folder)
        self._preload = Preload(places, memory)
        while self._preload:
            if not self._preload.step():
                break
        self._connections: Dict[int, _Connection] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._left = time.monotonic()
        self._number = 0
        self._over = False
        self._ends = Children()
        self._selector.register(self._ends.file, selectors.EVENT_READ, self._reap)
        gc.collect()
        gc.freeze()

    def run(self) -> None:
        """Serves until `quit` arrives, its owner ends, or no laptop has come for `linger` seconds."""
        while not self._over:
            if not self._connections and time.monotonic() - self._left >= self._linger:
                return
            if self._owner and not _lives(self._owner):
                return
            registered = self._selector.get_map()
            for key, mask in self._selector.select(self._patience()):
                if registered.get(key.fileobj) is key:
                    key.data(key.fileobj, mask)
            self._enforce()

    def close(self) -> None:
        """Ends what is running."""
        for connection in list(self._connections.values()):
            self._drop(connection)

    def _patience(self) -> float:
        runs = [each.run for each in self._connections.values() if each.run]
        deadlines = [when for run in runs for when in (run.kill_at, run.parts_at) if when]
        if not self._connections:
            deadlines.append(self._left + self._linger)
        longest = _OWNER_LOOK_SECONDS if self._owner else 60.0
        return max(0.0, min([*deadlines, time.monotonic() + longest]) - time.monotonic())

    # Connections

    def _accept(self, _file: Any, _mask: int) -> None:
        channel, _address = self._listener.accept()
        channel.setblocking(False)
        connection = _Connection(channel)
        self._connections[channel.fileno()] = connection
        self._selector.register(channel, selectors.EVENT_READ, self._serve)
        release = ".".join(map(str, self._warm.release.version))
        self._send(connection, "ready", release=release, packages=self._warm.carried.digests)

    def _serve(self, channel: Any, mask: int) -> None:
        connection = self._connections[channel.fileno()]
        try:
            if mask & selectors.EVENT_WRITE:
                self._flush(connection)
            if mask & selectors.EVENT_READ:
                data = channel.recv(_CHUNK)
                if not data:
                    self._drop(connection)
                    return
                for frame in connection.decoder.feed(data):
                    self._handle(connection, frame)
        except BlockingIOError:
            return
        except (OSError, FrameError, TypeError, ValueError):
            self._drop(connection)

    def _handle(self, connection: _Connection, frame: Frame) -> None:
        if frame.type == "run" and connection.run is None:
            request = Request.of(frame.json())
            life = functools.partial(live, self._warm, request)
            self._start(connection, life, debugged=request.debug)
        elif frame.type == "pytest" and connection.run is None:
            self._start(connection, functools.partial(testing.live, self._warm, PytestRequest.of(frame.json())))
        elif frame.type == "connection" and connection.run is None:
            asked = ConnectionRequest.of(frame.json())
            self._start(connection, functools.partial(connection_test.live, self._warm, asked))
        elif frame.type == "interrupt" and connection.run is not None:
            self._interrupt(connection.run)
        elif frame.type == "typed" and connection.run is not None:
            connection.run.type(frame.payload)
        elif frame.type == "package":
            last = bool(frame.fields.get("last"))
            self._warm.carried.take(str(frame.fields.get("name")), frame.payload, last=last)
            if last:
                self._send(connection, "packages", packages=self._warm.carried.digests)
        elif frame.type == "quit":
            self._over = True

    def _send(self, connection: _Connection, kind: str, payload: bytes = b"", **fields: Any) -> None:
        connection.outgoing += frames.encode(kind, payload, **fields)
        self._flush(connection)

    def _flush(self, connection: _Connection) -> None:
        """Sends what the laptop takes now; while much waits, the run's output is not read."""
        if connection.outgoing:
            with contextlib.suppress(BlockingIOError):
                sent = connection.channel.send(connection.outgoing)
                del connection.outgoing[:sent]
        waits = selectors.EVENT_WRITE if connection.outgoing else 0
        self._selector.modify(connection.channel, selectors.EVENT_READ | waits, self._serve)
        run = connection.run
        if run is None:
            return
        full = len(connection.outgoing) > _QUEUED
        registered = self._selector.get_map()
        for file in run.open:
            if full and file in registered:
                self._selector.unregister(file)
            elif not full and file not in registered:
                self._listen(connection, file)

    def _drop(self, connection: _Connection) -> None:
        """The laptop is gone: its run ends with all that it started."""
        self._connections.pop(connection.channel.fileno(), None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.channel)
        connection.channel.close()
        self._left = time.monotonic()
        if connection.run is not None:
            kill_group(connection.run.pid)
            self._clean(connection.run)

    # Runs

    def _start(self, connection: _Connection, life: Callable[[str, Streams], None], *, debugged: bool = False) -> None:
        result, result_end = os.pipe()
        output, output_end = os.pipe()
        typed, typing = os.pipe()
        theirs = Streams(result_end, output_end, typed)
        self._number += 1
        database = os.path.join(self._folder, f"run-{os.getpid()}-{self._number}.db")
        pid = os.fork()
        if pid == 0:
            begin(theirs, [result, output, typing, *self._files()])
            life(database, theirs)
        for end in theirs:
            os.close(end)
        for end in (result, output, typing):
            os.set_blocking(end, False)
        connection.run = _Run(pid, result=result, output=output, typing=typing, database=database, debugged=debugged)
        for end in (result, output):
            self._listen(connection, end)

    def _listen(self, connection: _Connection, file: int) -> None:
        self._selector.register(file, selectors.EVENT_READ, lambda _file, _mask: self._read(connection, file))

    def _files(self) -> List[int]:
        """What a run must not hold open."""
        found = [self._listener.fileno(), *self._ends.files(), self._selector.fileno()]
        for connection in self._connections.values():
            found.append(connection.channel.fileno())
            if connection.run is not None:
                found += [*connection.run.open, *connection.run.typing]
        return found

    def _read(self, connection: _Connection, file: int) -> None:
        run = connection.run
        if run is None:
            return
        if file == run.result and run.output in run.open:
            self._read(connection, run.output)  # output comes before the event that follows it
            if connection.run is not run or file not in run.open:
                return
        data = read_now(file)
        if data is None:
            return
        try:
            if not data:
                self._selector.unregister(file)
                os.close(file)
                run.open.discard(file)
                self._end_if_over(connection)
            elif file == run.output:
                self._send(connection, "output", data)
            else:
                run.lines += data
                while b"\n" in run.lines:
                    line, _, rest = bytes(run.lines).partition(b"\n")
                    run.lines = bytearray(rest)
                    self._send(connection, "event", line[: frames.PAYLOAD_LIMIT])
        except OSError:
            self._drop(connection)

    def _interrupt(self, run: _Run) -> None:
        if run.kill_at:
            kill_group(run.pid)
        else:
            run.kill_at = time.monotonic() + _KILL_SECONDS
            kill_group(run.pid, signal.SIGINT)

    def _enforce(self) -> None:
        for connection in self._connections.values():
            run = connection.run
            if run is not None and 0.0 < run.parts_at <= time.monotonic():
                run.parts_at = 0.0
                self._end_strays()
            if run is not None and run.kill_at and time.monotonic() >= run.kill_at:
                run.kill_at = time.monotonic() + 60.0
                kill_group(run.pid)

    def _reap(self, _file: Any, _mask: int) -> None:
        for pid, status in self._ends.ended():
            for connection in list(self._connections.values()):
                run = connection.run
                if run is not None and run.pid == pid:
                    run.status = status
                    run.parts_at = time.monotonic() + _PARTING_SECONDS if run.debugged else 0.0
                    kill_group(pid)  # what it started ends with it
                    self._end_if_over(connection)
        self._end_strays()

    def _end_strays(self) -> None:
        """Ends what runs left behind; what the editor of one speaks with has a moment to tell it of the end."""
        now = time.monotonic()
        runs = [each.run for each in self._connections.values() if each.run is not None]
        end_strays({run.pid for run in runs if run.status is None or now < run.parts_at})

    def _end_if_over(self, connection: _Connection) -> None:
        """Says how the run ended, once its process is gone and all its output was read."""
        run = connection.run
        if run is None or run.status is None or run.open:
            return
        connection.run = None
        self._clean(run)
        if os.WIFSIGNALED(run.status):
            self._send(connection, "ended", signal=signal.Signals(os.WTERMSIG(run.status)).name)
        else:
            self._send(connection, "ended", code=os.WEXITSTATUS(run.status))

    def _clean(self, run: _Run) -> None:
        for file in list(run.open):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(file)
            os.close(file)
        run.open.clear()
        run.type(b"")
        for name in (run.database, f"{run.database}-journal", f"{run.database}-wal", f"{run.database}-shm"):
            with contextlib.suppress(OSError):
                os.unlink(name)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def main(path: str, options: Mapping[str, Any], ready: int) -> None:
    """Serves laptops that connect to `path`; see `devenv.agent.warm_start.serve`."""
    with tempfile.TemporaryDirectory(prefix="devenv-tasks-") as folder:
        serve(path, ready, lambda listener: Server(listener, options, folder, f"{path.rpartition('-')[0]}.modules"))
