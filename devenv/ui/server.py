"""The server of the page: on 127.0.0.1 only, for who has the token only.

The page itself holds nothing that is worth protecting and is given to everybody. What it shows comes from `/api/`,
which asks for the token in the header `Authorization`: no cookie, which every program on 127.0.0.1 would be sent,
whatever its port. The token stands in the URL's fragment, which browsers do not send. A name that somebody makes
point to 127.0.0.1 (DNS rebinding) is refused by its `Host`, a page of another origin by its `Origin`.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import queue
import secrets
import sys
from collections.abc import Generator, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from devenv.errors import MissingError
from devenv.ui.peer import is_ours

if TYPE_CHECKING:
    from devenv.ui.feed import Feed

_PAGE = Path(__file__).resolve().parent / "page"
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/app.css": ("app.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
KEEP_ALIVE_SECONDS = 10.0
"""Where nothing happens, a comment is sent this often: so a page that was closed is noticed."""


class PagePortTaken(MissingError):
    """The port of `devenv ui --port` is taken by another program. Without `--port` a free one is taken."""

    code = "DEVENV-902"


class PageServer(ThreadingHTTPServer):
    """Serves the page until `shutdown`.

    Args:
        feed: what is shown.
        port: 0 takes a free one.

    Raises:
        PagePortTaken: another program has the port.
    """

    daemon_threads = True

    def __init__(self, feed: Feed, port: int = 0) -> None:
        self.feed = feed
        self.token = secrets.token_urlsafe(32)
        self._tickets: set[str] = set()
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise PagePortTaken(
                f"port {port} on 127.0.0.1 cannot be used: {error.strerror}", hint="devenv ui"
            ) from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server_address[1]

    @property
    def url(self) -> str:
        """The page with its token, for a person."""
        return f"http://127.0.0.1:{self.port}/#token={self.token}"

    def ticket_url(self) -> str:
        """The page with a word that gives the token once, to a program of this user.

        It stands in the browser's command line, which other users can see, so it is worth nothing to them.
        """
        ticket = secrets.token_urlsafe(32)
        self._tickets.add(ticket)
        return f"http://127.0.0.1:{self.port}/#ticket={ticket}"

    def redeem(self, ticket: str) -> bool:
        """Whether a ticket was good; it is so once."""
        try:
            self._tickets.remove(ticket)
        except KeyError:
            return False
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is nothing to tell; all else is a defect."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "devenv"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """The page's files for everybody, the rest for who has the token."""
        if not self._from_here():
            return
        url = urlsplit(self.path)
        if url.path in _FILES:
            name, kind = _FILES[url.path]
            self._answer(HTTPStatus.OK, (_PAGE / name).read_bytes(), kind)
        elif not self._has_token():
            self._refuse(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong: open the URL that devenv ui printed")
        elif url.path == "/api/events":
            self._stream(self._events())
        elif url.path == "/api/logs":
            component = parse_qs(url.query).get("component", [""])[0]
            self._stream(("log", lines) if lines else None for lines in self._log_lines(component))
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        """`/api/ticket` gives the token for a ticket."""
        if not self._from_here():
            return
        ticket = self.headers.get("Authorization", "").removeprefix("Ticket ")
        ours = is_ours((self.client_address[0], self.client_address[1]), self.server.port)
        if self.path == "/api/ticket" and ours and self.server.redeem(ticket):
            self._answer(HTTPStatus.OK, json.dumps({"token": self.server.token}).encode(), "application/json")
        else:
            self._refuse(HTTPStatus.UNAUTHORIZED, "this link was used already: open the URL that devenv ui printed")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the standard library)
        """Requests are nobody's business."""

    def _from_here(self) -> bool:
        hosts = {f"127.0.0.1:{self.server.port}", f"localhost:{self.server.port}"}
        if self.headers.get("Host") not in hosts:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, "this is not the name of this server")
            return False
        origin = self.headers.get("Origin")
        if origin is not None and origin not in {f"http://{host}" for host in hosts}:
            self._refuse(HTTPStatus.FORBIDDEN, "another page asked for this")
            return False
        return True

    def _has_token(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self.server.token.encode())

    def _events(self) -> Generator[tuple[str, Any] | None, None, None]:
        feed = self.server.feed
        with feed.listen() as waiting:
            while feed.listened_to(waiting):
                try:
                    yield waiting.get(timeout=KEEP_ALIVE_SECONDS)
                except queue.Empty:  # noqa: PERF203 (waiting again is the point)
                    yield None

    def _log_lines(self, component: str) -> Iterator[list[dict[str, Any]]]:
        return self.server.feed.log_lines(component, KEEP_ALIVE_SECONDS)

    def _stream(self, messages: Generator[tuple[str, Any] | None, None, None]) -> None:
        """Server-sent events, until the browser goes."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self._send_headers("text/event-stream")
        self.end_headers()
        self.wfile.write(b": devenv\n\n")
        with contextlib.closing(messages):
            for message in messages:
                if message is None:
                    self.wfile.write(b":\n\n")
                else:
                    name, data = message
                    text = json.dumps(data, ensure_ascii=False, default=str)
                    self.wfile.write(f"event: {name}\ndata: {text}\n\n".encode())

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True
        self._answer(status, json.dumps({"error": why}).encode(), "application/json")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self._send_headers(kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_headers(self, kind: str) -> None:
        self.send_header("Content-Type", kind)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
