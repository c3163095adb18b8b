"""A port of 127.0.0.1 that leads into a pod, also into the next one when that is replaced.

Each connection looks the pod up anew, over a WebSocket of its own; `kubectl port-forward` holds on to one pod
and ends with it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

from devenv.cluster.errors import ClusterError, ClusterUnreachable, ForwardFailed
from devenv.cluster.kinds import KINDS
from devenv.cluster.websocket import Pinger, open_websocket
from devenv.errors import DevenvError

if TYPE_CHECKING:
    import websocket

    from devenv.cluster.connection import Cluster

_PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_CHUNK = 64 * 1024


class Forward:
    """Listens on 127.0.0.1 and passes each connection on to a ready pod, until it is closed.

    Args:
        cluster: where.
        namespace: of the pods.
        labels: which pods: "app.kubernetes.io/component=webserver".
        target: the pod's port.
        port: on 127.0.0.1; 0 takes a free one.

    Raises:
        ForwardFailed: the port is taken.

    Attributes:
        port: where it listens.
    """

    def __init__(self, cluster: Cluster, namespace: str, labels: str, target: int, port: int = 0) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._labels = labels
        self._target = target
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind(("127.0.0.1", port))
        except OSError as error:
            self._listener.close()
            raise ForwardFailed(f"Port {port} of 127.0.0.1 cannot be used: {error.strerror}") from error
        self._listener.listen(64)
        self.port = int(self._listener.getsockname()[1])
        self._closed = threading.Event()
        threading.Thread(target=self._accept, name=f"forward-{self.port}", daemon=True).start()

    def __enter__(self) -> Forward:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops listening; connections that are open end by themselves."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="forwarded", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One connection, from its beginning to its end; the browser sees a refusal as a closed connection."""
        with client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                remote = self._open()
            except DevenvError:
                return
            pinger = Pinger(remote)
            outwards = threading.Thread(target=_send_all, args=(client, remote), name="forward-out", daemon=True)
            outwards.start()
            try:
                _receive_all(remote, client)
            finally:
                pinger.close()
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
                remote.abort()
                outwards.join(5.0)
                remote.shutdown()

    def _open(self) -> websocket.WebSocket:
        path = f"{KINDS['Pod'].path(self._namespace, self._pod())}/portforward"
        return open_websocket(self._cluster, path, [("ports", str(self._target))], [_PROTOCOL])[0]

    def _pod(self) -> str:
        """The name of a pod that is ready, or at least runs."""
        pods = [
            pod
            for pod in self._cluster.list("Pod", self._namespace, labels=self._labels)
            if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
        ]
        if not pods:
            raise ClusterUnreachable(f"No pod with {self._labels} runs in namespace {self._namespace}")
        pods.sort(key=_is_ready, reverse=True)
        return str(pods[0]["metadata"]["name"])


def _is_ready(pod: dict[str, object]) -> bool:
    status = pod.get("status")
    conditions = status.get("conditions", []) if isinstance(status, dict) else []
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _send_all(client: socket.socket, remote: websocket.WebSocket) -> None:
    """From the browser to the pod."""
    with contextlib.suppress(Exception):  # either end may be gone at any moment, and then all is
        while data := client.recv(_CHUNK):
            remote.send_binary(bytes((_DATA,)) + data)
    with contextlib.suppress(Exception):
        remote.send_close()


def _receive_all(remote: websocket.WebSocket, client: socket.socket) -> None:
    """From the pod to the browser. The first frame of each channel holds the port's number in two bytes."""
    import websocket

    begun: set[int] = set()
    with contextlib.suppress(websocket.WebSocketException, OSError, ClusterError, struct.error):
        while True:
            opcode, data = remote.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return
            if opcode != websocket.ABNF.OPCODE_BINARY or not data:
                continue
            channel, payload = data[0], data[1:]
            if channel not in begun:
                begun.add(channel)
                payload = payload[2:]
            if channel == _DATA and payload:
                client.sendall(payload)
            elif channel == _ERROR and payload:
                return
