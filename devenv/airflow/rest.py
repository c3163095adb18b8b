"""One kept session with Airflow's REST API: log-in, errors in a person's words, bounded answers.

A log-in is done once and kept in a file for the next command, because checking a password costs the webserver 100 to
200 ms by design (it hashes it), and Airflow 2.x takes no more than five of them in 40 seconds. 2.x: by the form of its
log-in page, whose cookie the API takes where `[api] auth_backends` holds `airflow.api.auth.backend.session` (17 ms a
request instead of 110; basic authentication otherwise). 3.x: by a token from `/auth/token`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from devenv.errors import DevenvError, ExitCode, PlatformError
from devenv.files import write_whole
from devenv.foreign_text import clean

_ANSWER_LIMIT = 64 * 1024 * 1024
_CSRF_TOKEN = re.compile(r'name="csrf_token"[^>]*\bvalue="([^"]+)"')


@dataclass(frozen=True)
class Credentials:
    """User and password of Airflow's web interface."""

    user: str
    password: str


class AirflowUnreachable(PlatformError):
    """Airflow's webserver (api-server from 3.0 on) does not answer.

    It may still be starting, have crashed, or its port on 127.0.0.1 may lead nowhere because the port forward
    ended. `devenv status` shows which component is down and why; `devenv up` brings everything back.
    """

    code = "DEVENV-720"
    of_silence = True


class AirflowLoginRefused(PlatformError):
    """Airflow does not accept the user and password that devenv knows.

    Somebody changed the password on Airflow's page, or another environment answers on this port.
    """

    code = "DEVENV-721"


class AirflowRefused(PlatformError):
    """Airflow answered a request with an error; its own words are part of the message."""

    code = "DEVENV-722"

    def __init__(self, message: str, *, status: int, hint: str | None = None, detail: str | None = None) -> None:
        super().__init__(message, hint=hint, detail=detail)
        self.status = status
        """The HTTP status."""


class NotFound(DevenvError):
    """Airflow does not know what was asked for; the commands turn this into a DAG, run or task that is unknown."""

    code = "DEVENV-723"
    exit_code = ExitCode.USAGE


@dataclass(frozen=True)
class _Answer:
    status: int
    reason: str
    content_type: str
    body: bytes


class _Connections:
    """Kept connections to one address, and the headers and cookies of who asks.

    By `http.client`: `requests` alone takes longer to import than Airflow takes to answer. It asks no proxy, which on
    a laptop may be set for everything, 127.0.0.1 included.
    """

    def __init__(self, base_url: str, timeout: float) -> None:
        self._address = urlsplit(base_url)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[http.client.HTTPConnection] = []
        self.headers: dict[str, str] = {}
        self.cookies: dict[str, str] = {}

    def exchange(self, method: str, path: str, body: bytes | None, content_type: str) -> _Answer:
        """One request and its whole answer.

        Raises:
            OSError, http.client.HTTPException: the connection broke, or was not made.
        """
        headers = {"Accept": "application/json", **self.headers}
        if body is not None:
            headers["Content-Type"] = content_type
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        with self._lock:  # a connection that Airflow has closed meanwhile costs a second try, which only a read has
            connection = self._idle.pop() if self._idle and method == "GET" else self._connect()
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            received = _body(answer)
        except BaseException:
            connection.close()
            raise
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name.strip()] = value.strip()
        if answer.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        kind = clean(answer.headers.get("Content-Type", ""), 80)
        return _Answer(answer.status, clean(answer.reason, 80), kind, received)

    def close(self) -> None:
        """Ends the connections that are idle."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def __del__(self) -> None:
        self.close()  # for who does not close the session: a command that ends anyway

    def _connect(self) -> http.client.HTTPConnection:
        https = self._address.scheme == "https"
        kind = http.client.HTTPSConnection if https else http.client.HTTPConnection
        return kind(self._address.hostname or "127.0.0.1", self._address.port, timeout=self._timeout)


class RestSession:
    """Requests to one Airflow; may be used by several threads."""

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        *,
        major: int,
        timeout: float = 15.0,
        kept: Path | None = None,
    ) -> None:
        """Connects to nothing yet.

        Args:
            base_url: where Airflow answers: "http://127.0.0.1:8080".
            credentials: user and password of Airflow's page.
            major: 2 or 3, the generation of the API.
            timeout: seconds that Airflow may take to connect, and between two pieces of an answer.
            kept: a file (0600) where the log-in is kept for the next session, or None.
        """
        self.base_url = base_url.rstrip("/")
        self.prefix = "/api/v1" if major == 2 else "/api/v2"
        self._major = major
        self._page = "webserver" if major == 2 else "api-server"
        self._credentials = credentials
        self._timeout = timeout
        self._kept = kept
        self._lock = threading.Lock()
        self._session: _Connections | None = None
        self._anonymous = _Connections(self.base_url, timeout)

    def get(self, path: str, **query: object) -> Any:
        """The JSON at a path of the API ("/dags"); asked once more when the connection breaks.

        Raises:
            AirflowUnreachable: nothing answers, or not with JSON.
            AirflowLoginRefused: the password is wrong.
            NotFound: there is no such thing.
            AirflowRefused: any other error.
        """
        return self._json("GET", path, query=query)

    def send(self, method: str, path: str, body: object, **query: object) -> Any:
        """Sends JSON to a path of the API and returns the JSON of the answer; raises as `get` does."""
        return self._json(method, path, query=query, body=body)

    def open_page(self, path: str) -> Any:
        """The JSON of a page that needs no log-in ("/health"); raises as `get` does."""
        return self._decode(self._exchange(self._anonymous, "GET", path), path)

    def close(self) -> None:
        """Ends the session; never raises."""
        with self._lock:
            if self._session is not None:
                self._session.close()
            self._anonymous.close()
            self._session = None

    def _json(self, method: str, path: str, *, query: dict[str, object], body: object = None) -> Any:
        session = self._logged_in()
        url = self.prefix + path
        answer = self._exchange(session, method, url, query=query, body=body)
        if answer.status in (401, 403):  # the cookie or token may have expired, or the webserver's key changed
            with self._lock:
                if self._session is session:
                    self._session = None
                    self._forget()
                    session.close()
            answer = self._exchange(self._logged_in(), method, url, query=query, body=body)
        return self._decode(answer, path)

    def _logged_in(self) -> _Connections:
        with self._lock:
            if self._session is None:
                session = _Connections(self.base_url, self._timeout)
                if not self._recall(session):
                    self._log_in(session)
                    self._keep(session)
                self._session = session
            return self._session

    def _log_in(self, session: _Connections) -> None:
        try:
            if self._major == 2:
                self._log_in_by_form(session)
            else:
                self._log_in_by_token(session)
        except DevenvError:
            session.close()
            raise

    def _log_in_by_form(self, session: _Connections) -> None:
        user, password = self._credentials.user, self._credentials.password
        page = self._exchange(session, "GET", "/login/")
        token = _CSRF_TOKEN.search(page.body.decode("utf-8", "replace"))
        if token is not None:
            form = {"csrf_token": token.group(1), "username": user, "password": password}
            self._exchange(session, "POST", "/login/", form=form)
            if self._exchange(session, "GET", f"{self.prefix}/pools", query={"limit": 1}).status == 200:
                return
        # The API takes no cookie here, or the page is another one (LDAP, OAuth): the password with each request.
        session.cookies.clear()
        session.headers["Authorization"] = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
        if self._exchange(session, "GET", f"{self.prefix}/pools", query={"limit": 1}).status == 401:
            raise self._login_refused()

    def _log_in_by_token(self, session: _Connections) -> None:
        body = {"username": self._credentials.user, "password": self._credentials.password}
        answer = self._exchange(session, "POST", "/auth/token", body=body)
        if answer.status in (400, 401, 403):
            raise self._login_refused()
        token = self._decode(answer, "/auth/token").get("access_token")
        session.headers["Authorization"] = f"Bearer {token}"

    def _recall(self, session: _Connections) -> bool:
        """Takes the log-in of an earlier session over, where one was kept; whether it still holds, an answer says."""
        if self._kept is None:
            return False
        try:
            kept = json.loads(self._kept.read_text(encoding="utf-8"))
            if kept["who"] != self._who():
                return False
            session.cookies, session.headers = dict(kept["cookies"]), dict(kept["headers"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return True

    def _keep(self, session: _Connections) -> None:
        """Keeps the log-in for the next command: Airflow lets nobody log in more than five times in 40 seconds."""
        if self._kept is None or "Basic" in session.headers.get("Authorization", ""):
            return
        text = json.dumps({"who": self._who(), "cookies": session.cookies, "headers": session.headers})
        with contextlib.suppress(OSError):  # then the next command logs in again
            write_whole(self._kept, text)

    def _forget(self) -> None:
        if self._kept is not None:
            with contextlib.suppress(OSError):
                self._kept.unlink(missing_ok=True)

    def _who(self) -> list[str]:
        """What a kept log-in is good for; another password or port is another log-in."""
        secret = f"{self._credentials.user}:{self._credentials.password}"
        return [self.base_url, hashlib.sha256(secret.encode()).hexdigest()]

    def _login_refused(self) -> AirflowLoginRefused:
        return AirflowLoginRefused(
            f"Airflow at {self.base_url} refuses the password of {self._credentials.user!r}: it was changed there, "
            "or another Airflow answers on this port",
            hint="devenv doctor",
        )

    def _exchange(
        self,
        session: _Connections,
        method: str,
        url: str,
        *,
        query: dict[str, object] | None = None,
        body: object = None,
        form: dict[str, str] | None = None,
    ) -> _Answer:
        asked = {name: str(value) for name, value in (query or {}).items() if value is not None}
        path = f"{url}?{urlencode(asked)}" if asked else url
        data = urlencode(form).encode() if form else json.dumps(body).encode() if body is not None else None
        kind = "application/x-www-form-urlencoded" if form else "application/json"
        try:
            try:
                return session.exchange(method, path, data, kind)
            except (OSError, http.client.HTTPException):
                if method != "GET":
                    raise
                # An idle connection was closed, or the laptop is busy: what changes nothing is asked again.
                session.close()
                return session.exchange(method, path, data, kind)
        except TimeoutError as error:
            raise AirflowUnreachable(
                f"Airflow at {self.base_url} did not answer within {self._timeout:.0f} s", hint="devenv status"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise AirflowUnreachable(
                f"Airflow does not answer at {self.base_url}: {_reason(error)}", hint="devenv status"
            ) from error

    def _decode(self, answer: _Answer, path: str) -> Any:
        status = answer.status
        if status in (502, 503, 504):
            words = _detail(answer)
            raise AirflowUnreachable(
                f"Airflow at {self.base_url} is not ready (HTTP {status}){': ' + words if words else ''}",
                hint="devenv status",
            )
        if status == 401:
            raise self._login_refused()
        if status == 404:
            raise NotFound(_detail(answer) or f"Airflow knows no {path}")
        if status >= 400:
            raise AirflowRefused(
                f"Airflow refused the request (HTTP {status}): {_detail(answer) or answer.reason}",
                status=status,
                hint=f"devenv logs {self._page} --since 1m" if status >= 500 else None,
            )
        if not answer.body:
            return {}
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise AirflowUnreachable(
                f"what answers at {self.base_url} is not Airflow's API (HTTP {status}, {answer.content_type})",
                hint="devenv status",
            ) from error


def _body(answer: http.client.HTTPResponse) -> bytes:
    """The whole answer, but not without end."""
    received = answer.read(_ANSWER_LIMIT + 1)
    if len(received) > _ANSWER_LIMIT:
        raise http.client.HTTPException(f"the answer is longer than {_ANSWER_LIMIT >> 20} MiB")
    if answer.length:
        raise http.client.IncompleteRead(received, answer.length)
    return received


def _reason(error: Exception) -> str:
    """The cause in a person's words."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, (ConnectionError, http.client.RemoteDisconnected)):
        return "the connection was closed without an answer"
    return clean(str(error) or type(error).__name__, 300)


def _detail(answer: _Answer) -> str:
    """What Airflow says about an error: 2.x `title` and `detail`, 3.x `detail` as text or as pydantic's list."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    detail = body.get("detail")
    if isinstance(detail, list):
        parts = [
            f"{'.'.join(str(part) for part in item.get('loc', ())[1:])}: {item.get('msg', '')}"
            for item in detail[:5]
            if isinstance(item, dict)
        ]
        return clean("; ".join(parts), 2000)
    if isinstance(detail, dict):
        detail = detail.get("statement") or detail.get("message") or json.dumps(detail)
    return clean(detail or body.get("title") or "", 2000)
