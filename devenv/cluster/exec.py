"""Programs in pods, over the API server's own exec WebSocket.

The client of the `kubernetes` package changes the shared ApiClient while it opens an exec session
(kubernetes-client/python#928) and sends no pings; a session that must live for hours needs its own.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from devenv.cluster.errors import ExecRefused
from devenv.cluster.kinds import KINDS
from devenv.cluster.websocket import Pinger, open_websocket
from devenv.duplex import DuplexClosed
from devenv.errors import TimedOut

if TYPE_CHECKING:
    from devenv.cluster.connection import Cluster

_V5 = "v5.channel.k8s.io"
_V4 = "v4.channel.k8s.io"
_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
_CHUNK = 256 * 1024
"""Larger frames break some proxies' connections (kubernetes-client/python#1866)."""
_LAST_WORDS = 16 * 1024
_QUEUED_FRAMES = 1024


class ExecDuplex:
    """A program in a pod: its standard input and output, until it ends or the connection does.

    Attributes:
        returncode: its exit code once it has ended by itself; None before, and when the connection broke.
    """

    def __init__(self, cluster: Cluster, namespace: str, pod: str, container: str, command: Sequence[str]) -> None:
        query = [("command", part) for part in command]
        query += [("container", container)] if container else []
        query += [("stdin", "true"), ("stdout", "true"), ("stderr", "true"), ("tty", "false")]
        self._client, protocol = open_websocket(cluster, f"{KINDS['Pod'].path(namespace, pod)}/exec", query, (_V5, _V4))
        self._can_half_close = protocol == _V5
        self._place = f"{pod}/{container}" if container else pod
        self.returncode: int | None = None
        self._end = ""
        self._stderr = bytearray()
        self._frames: queue.Queue[bytes | None] = queue.Queue(_QUEUED_FRAMES)
        self._closed = threading.Event()
        self._pinger = Pinger(self._client)
        threading.Thread(target=self._receive, name=f"exec-{pod}", daemon=True).start()

    def write(self, data: bytes) -> None:
        """Sends bytes to the program's standard input.

        Raises:
            DuplexClosed: the other side is gone, or has not read for half a minute.
        """
        import websocket

        view = memoryview(data)
        for start in range(0, len(view), _CHUNK):
            if self._closed.is_set():
                raise DuplexClosed(self._reason())
            try:
                self._client.send_binary(bytes((_STDIN,)) + view[start : start + _CHUNK])
            except (websocket.WebSocketException, OSError, AttributeError) as error:
                self._finish(f"the connection broke: {error}")
                raise DuplexClosed(self._reason()) from error

    def end_input(self) -> bool:
        """Closes the program's standard input; False where the server's protocol cannot (before v5)."""
        import websocket

        if self._can_half_close:
            # A short program may have ended already, and the connection with it.
            with contextlib.suppress(websocket.WebSocketException, OSError, AttributeError):
                self._client.send_binary(bytes((_CLOSE, _STDIN)))
        return self._can_half_close

    def read(self, timeout: float | None = None) -> bytes:
        """The next bytes of its standard output; b"" when none came in time.

        Raises:
            DuplexClosed: it ended, or the connection did, and everything was read.
        """
        try:
            data = self._frames.get(timeout=timeout)
        except queue.Empty:
            return b""
        if data is None:
            self._frames.put(None)  # for the next read
            raise DuplexClosed(self._reason())
        return data

    @property
    def last_words(self) -> str:
        """The end of its standard error."""
        return bytes(self._stderr).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Ends the program and the connection; never raises, may be called from another thread."""
        self._finish("closed")
        with contextlib.suppress(Exception):
            self._client.send_close()
        # Without waiting for the server's farewell: the runtime ends the program when the stream is gone.
        with contextlib.suppress(Exception):
            self._client.abort()

    def _receive(self) -> None:
        """Sorts what arrives by channel, until the server closes or the connection breaks."""
        import websocket

        reason = "the connection was closed"
        try:
            while not self._closed.is_set():
                opcode, data = self._client.recv_data(control_frame=True)
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    break
                if opcode not in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT) or len(data) < 2:
                    continue
                self._sort(data[0], bytes(data[1:]))
        except websocket.WebSocketTimeoutException:
            reason = "the connection went silent"
        except (websocket.WebSocketException, OSError, AttributeError) as error:
            reason = f"the connection broke: {error}"
        self._finish(reason)
        with contextlib.suppress(queue.Full):
            self._frames.put(None, timeout=1)
        with contextlib.suppress(Exception):
            self._client.shutdown()

    def _sort(self, channel: int, data: bytes) -> None:
        if channel == _STDOUT:
            while not self._closed.is_set():
                with contextlib.suppress(queue.Full):
                    self._frames.put(data, timeout=1)
                    return
        elif channel == _STDERR:
            self._stderr += data
            del self._stderr[:-_LAST_WORDS]
        elif channel == _STATUS:
            self.returncode, message = _status(data)
            self._end = f"it ended with exit code {self.returncode}" if self.returncode is not None else message

    def _finish(self, reason: str) -> None:
        self._end = self._end or reason
        self._closed.set()
        self._pinger.close()

    def _reason(self) -> str:
        words = self.last_words
        return f"{self._place}: {self._end}" + (f"\n{words}" if words else "")


def exec_duplex(cluster: Cluster, namespace: str, pod: str, container: str, command: Sequence[str]) -> ExecDuplex:
    """Starts a program in a pod and joins its standard input and output.

    Args:
        cluster: where.
        namespace: the pod's.
        pod: its name.
        container: "" where it has only one.
        command: the program and its arguments; it travels in a URL, so it must be short (some KB).

    Raises:
        ClusterUnreachable: the API server does not answer.
        AccessDenied: exec is not allowed.
        ExecRefused: there is no such pod or container, or it does not run.
    """
    return ExecDuplex(cluster, namespace, pod, container, command)


def run_in_pod(
    cluster: Cluster,
    namespace: str,
    pod: str,
    container: str,
    command: Sequence[str],
    *,
    stdin: bytes = b"",
    timeout: float = 60.0,
) -> tuple[int, bytes, str]:
    """Runs a program in a pod to its end.

    Returns:
        Its exit code, its standard output, and the end of its standard error.

    Raises:
        TimedOut: it did not end in time.
        ExecRefused: it could not be started, or the connection broke before it ended; and as in `exec_duplex`.
    """
    session = exec_duplex(cluster, namespace, pod, container, command)
    output = bytearray()
    deadline = time.monotonic() + timeout
    try:
        if stdin:
            session.write(stdin)
        session.end_input()
        while (left := deadline - time.monotonic()) > 0:
            output += session.read(left)
        raise TimedOut(f"`{' '.join(command[:4])}` in {pod} did not end within {timeout:.0f} s")
    except DuplexClosed as error:
        if session.returncode is None:
            raise ExecRefused(str(error)) from error
        return session.returncode, bytes(output), session.last_words
    finally:
        session.close()


def _status(data: bytes) -> tuple[int | None, str]:
    """The exit code in the last frame of channel 3, and the server's words for it.

    https://kubernetes.io/docs/reference/using-api/#remotecommand: a `metav1.Status`, `Success` for 0.
    """
    try:
        status = json.loads(data)
    except ValueError:
        return None, data.decode("utf-8", "replace")
    if status.get("status") == "Success":
        return 0, ""
    for cause in (status.get("details") or {}).get("causes") or []:
        if cause.get("reason") == "ExitCode":
            return int(cause["message"]), str(status.get("message", ""))
    return None, str(status.get("message") or "the program could not be started")
