"""An HTTP receiver in the test's process, in place of Slack."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What was sent.

    Attributes:
        port: where it listens.
        messages: what was posted, in order.
    """

    port: int
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """The `text` of each message that has one, as a DAG's callback sends it."""
        return [message["text"] for message in self.messages if "text" in message]


@contextmanager
def receiver(address: str = "127.0.0.1") -> Iterator[Receiver]:
    """Listens on a free port of `address` for as long as the context is open."""
    found = Receiver(0)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.messages.append(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer((address, 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
