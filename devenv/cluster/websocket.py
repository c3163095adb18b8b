"""A WebSocket to the API server on which one thread reads while others write."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from devenv.cluster.errors import AccessDenied, ClusterError, ClusterUnreachable, ExecRefused

if TYPE_CHECKING:
    import websocket

    from devenv.cluster.connection import Cluster

SILENCE_SECONDS = 30.0
"""A connection on which nothing arrived for this long, answers to pings included, is dead (a laptop that slept)."""
PING_SECONDS = 5.0

_CONNECT_SECONDS = 5.0


class SharedSocket:
    """A TLS or plain socket for one reading and several writing threads.

    OpenSSL allows no read and write of one connection at the same moment, and Python before 3.13 does not
    prevent it. So every call into it is short, non-blocking and under a lock, and the waiting happens outside.
    It has what `websocket-client` asks of a socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.setblocking(False)
        self._lock = threading.Lock()
        self._timeout: float | None = None

    def recv(self, size: int) -> bytes:
        """The next bytes; b"" at the end. Raises TimeoutError when none come in time."""
        while True:
            try:
                with self._lock:
                    return self._connection.recv(size)
            except (BlockingIOError, ssl.SSLWantReadError):  # noqa: PERF203 (that is the loop's purpose)
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""

    def send(self, data: bytes) -> int:
        """Sends some of the bytes; says how many. Raises TimeoutError when the other side does not read."""
        while True:
            try:
                with self._lock:
                    return self._connection.send(data)
            except (BlockingIOError, ssl.SSLWantWriteError):  # noqa: PERF203 (as above)
                self._wait(select.POLLOUT)
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)

    def _wait(self, event: int) -> None:
        poll = select.poll()
        try:
            poll.register(self._connection, event)
        except ValueError as error:
            raise OSError("the connection is closed") from error
        if not poll.poll(None if self._timeout is None else self._timeout * 1000):
            raise TimeoutError("timed out")

    def gettimeout(self) -> float | None:
        """Seconds that `recv` and `send` wait."""
        return self._timeout

    def settimeout(self, seconds: float | None) -> None:
        """Sets the seconds that `recv` and `send` wait."""
        self._timeout = seconds

    def fileno(self) -> int:
        """The file descriptor."""
        return self._connection.fileno()

    def shutdown(self, how: int) -> None:
        """Ends the connection under TLS: whoever waits in `recv` wakes up."""
        socket.socket.shutdown(self._connection, how)

    @property
    def _closed(self) -> bool:
        # websocket-client's `shutdown` asks for this attribute of `socket.socket`, and closes nothing without it.
        return self._connection.fileno() < 0

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def open_websocket(
    cluster: Cluster, path: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]
) -> tuple[websocket.WebSocket, str]:
    """Opens a WebSocket to a path of the API server.

    Returns:
        The open socket and the protocol that the server chose.

    Raises:
        ClusterUnreachable: no answer.
        AccessDenied: 401 or 403.
        ExecRefused: the server answered with another error: there is no such pod or container.
    """
    import websocket

    access = cluster.access
    if access.proxy:
        raise ExecRefused(f"Context {cluster.context!r} is behind the proxy {access.proxy}, through which kubectl goes")
    parts = urllib.parse.urlsplit(access.server)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        connection = _connect(parts.hostname or "", port, access.tls, access.server_name or parts.hostname or "")
    except OSError as error:
        if cluster.moved():
            return open_websocket(cluster, path, query, protocols)
        raise ClusterUnreachable(
            f"The cluster of context {cluster.context!r} does not answer at {access.server}: {error}",
            hint="`devenv status` shows what runs; `devenv up` starts what does not.",
        ) from error
    shared = SharedSocket(connection)
    shared.settimeout(SILENCE_SECONDS)
    client = websocket.WebSocket(enable_multithread=True, skip_utf8_validation=True)
    scheme = "wss" if parts.scheme == "https" else "ws"
    url = f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}{path}?{urllib.parse.urlencode(list(query))}"
    headers = [f"{name}: {value}" for name, value in access.headers().items()]
    try:
        client.connect(url, socket=shared, header=headers, subprotocols=list(protocols), suppress_origin=True)
    except websocket.WebSocketBadStatusException as error:
        shared.close()
        raise _refused(cluster, error) from error
    except (websocket.WebSocketException, OSError) as error:
        shared.close()
        raise ClusterUnreachable(f"The session to {access.server} broke while it was opened: {error}") from error
    chosen = str((client.getheaders() or {}).get("sec-websocket-protocol", ""))
    client.settimeout(SILENCE_SECONDS)
    return client, chosen


def _connect(host: str, port: int, tls: ssl.SSLContext | None, server_name: str) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=_CONNECT_SECONDS)
    try:
        # A save is a small frame: Nagle's algorithm would hold it back until the last one is acknowledged.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection if tls is None else tls.wrap_socket(connection, server_hostname=server_name)
    except BaseException:
        connection.close()
        raise


def _refused(cluster: Cluster, error: Any) -> ClusterError:
    """The API server's own words for a handshake that it refused."""
    import json

    body = error.resp_body or b""
    message = ""
    with contextlib.suppress(ValueError, AttributeError):
        message = str(json.loads(body).get("message") or "")
    message = message or body.decode("utf-8", "replace").strip()[:500] or str(error)
    status = int(error.status_code)
    if status in (401, 403):
        return AccessDenied(f"Not allowed in context {cluster.context!r}: {message}", status=status)
    return ExecRefused(message, status=status)


class Pinger:
    """Pings until it is closed, so that a dead connection is noticed and a quiet one is kept open by proxies."""

    def __init__(self, client: websocket.WebSocket) -> None:
        self._client = client
        self._closed = threading.Event()
        threading.Thread(target=self._ping, name="websocket-ping", daemon=True).start()

    def _ping(self) -> None:
        with contextlib.suppress(Exception):  # the reader notices the end and says why
            while not self._closed.wait(PING_SECONDS):
                self._client.ping()

    def close(self) -> None:
        """Ends the pinging."""
        self._closed.set()
