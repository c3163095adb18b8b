"""A duplex to a child process: the agent beside the local backend, or `kubectl exec -i`."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from devenv import process
from devenv.duplex import DuplexClosed
from devenv.foreign_text import clean

_LAST_WORDS = 8_192
_CHUNK = 1_048_576


class ChildDuplex:
    """A program's standard input and output; its standard error is drained, and kept for the last words."""

    def __init__(
        self, command: Sequence[str | Path], *, variables: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        """Starts the program.

        Raises:
            ProgramMissing: there is no such program.
        """
        self._child = process.start(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, variables=variables, cwd=cwd
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._input = self._child.stdin.fileno()
        os.set_blocking(self._input, False)
        self._output = self._child.stdout.fileno()
        # Closing wakes whoever waits in `read`, which closing the descriptor itself would not.
        self._woken, self._wake = os.pipe()
        self._closed = threading.Event()
        self._words: collections.deque[bytes] = collections.deque(maxlen=64)
        self._listener = threading.Thread(target=self._drain, name="child's standard error", daemon=True)
        self._listener.start()
        self._closing = threading.Lock()
        self._writing = threading.Lock()
        self._reading = threading.Lock()

    @property
    def pid(self) -> int:
        """The program's process number."""
        return self._child.pid

    def write(self, data: bytes) -> None:
        """Sends bytes; see `devenv.duplex.Duplex`."""
        view = memoryview(data)
        with self._writing:
            while view:
                self._check_open()
                try:
                    select.select([self._woken], [self._input], [])
                    view = view[os.write(self._input, view) :]
                except BlockingIOError:
                    continue
                except OSError as error:
                    raise DuplexClosed(self._how_it_ended()) from error

    def read(self, timeout: float | None = None) -> bytes:
        """The next bytes; see `devenv.duplex.Duplex`."""
        with self._reading:
            self._check_open()
            ready, _, _ = select.select([self._output, self._woken], [], [], timeout)
            self._check_open()
            if not ready:
                return b""
            data = os.read(self._output, _CHUNK)
        if not data:
            raise DuplexClosed(self._how_it_ended())
        return data

    def close(self) -> None:
        """Ends the program; see `devenv.duplex.Duplex`."""
        with self._closing:
            if self._closed.is_set():
                return
            self._closed.set()
        os.write(self._wake, b"x")
        with self._writing, self._reading:
            process.stop(self._child)
            os.close(self._wake)
            os.close(self._woken)
        self._listener.join(1.0)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise DuplexClosed("the session was closed")

    def _drain(self) -> None:
        stream = self._child.stderr
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):
            for line in iter(lambda: stream.readline(_LAST_WORDS), b""):
                self._words.append(line)

    def _how_it_ended(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(1.0)
        self._listener.join(0.5)
        words = clean(b"".join(self._words)[-_LAST_WORDS:].decode("utf-8", "replace"), 2_000).strip()
        code = self._child.poll()
        ending = f"it ended with exit code {code}" if code is not None else "it closed its output"
        return f"{ending}: {words}" if words else ending
