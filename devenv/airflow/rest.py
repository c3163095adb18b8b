"""One kept session with Airflow's REST API: log-in, errors in a person's words, bounded answers.

A log-in is done once per session, because checking a password costs the webserver 100 to 200 ms by design
(it hashes it): 2.x by the form of its log-in page, whose cookie the API takes where `[api] auth_backends` holds
`airflow.api.auth.backend.session` (17 ms a request instead of 110; basic authentication otherwise), 3.x by a
token from `/auth/token`.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devenv.errors import DevenvError, ExitCode, PlatformError
from devenv.verdict import clean

if TYPE_CHECKING:
    import requests

    from devenv.backends.base import Credentials

_ANSWER_LIMIT = 64 * 1024 * 1024
_CSRF_TOKEN = re.compile(r'name="csrf_token"[^>]*\bvalue="([^"]+)"')


class AirflowUnreachable(PlatformError):
    """Airflow's webserver (api-server from 3.0 on) does not answer.

    It may still be starting, have crashed, or its port on 127.0.0.1 may lead nowhere because the port forward
    ended. `devenv status` shows which component is down and why; `devenv up` brings everything back.
    """

    code = "DEVENV-720"


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


class RestSession:
    """Requests to one Airflow; may be used by several threads."""

    def __init__(self, base_url: str, credentials: Credentials, *, major: int, timeout: float = 15.0) -> None:
        """Connects to nothing yet.

        Args:
            base_url: where Airflow answers: "http://127.0.0.1:8080".
            credentials: user and password of Airflow's page.
            major: 2 or 3, the generation of the API.
            timeout: seconds that Airflow may take to connect, and between two pieces of an answer.
        """
        self.base_url = base_url.rstrip("/")
        self.prefix = "/api/v1" if major == 2 else "/api/v2"
        self._major = major
        self._credentials = credentials
        self._timeout = timeout
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._anonymous: requests.Session | None = None

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
        with self._lock:
            if self._anonymous is None:
                self._anonymous = self._new_session()
        return self._decode(self._exchange(self._anonymous, "GET", path), path)

    def close(self) -> None:
        """Ends the session; never raises."""
        with self._lock:
            for session in (self._session, self._anonymous):
                if session is not None:
                    session.close()
            self._session = self._anonymous = None

    def _json(self, method: str, path: str, *, query: dict[str, object], body: object = None) -> Any:
        session = self._logged_in()
        url = self.prefix + path
        answer = self._exchange(session, method, url, query=query, body=body)
        if answer.status in (401, 403):  # the cookie or token may have expired, or the webserver's key changed
            with self._lock:
                if self._session is session:
                    self._session = None
            answer = self._exchange(self._logged_in(), method, url, query=query, body=body)
        return self._decode(answer, path)

    def _new_session(self) -> requests.Session:
        import requests

        session = requests.Session()
        session.trust_env = False  # a laptop's proxy must not be asked for 127.0.0.1
        session.headers["Accept"] = "application/json"
        return session

    def _logged_in(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                session = self._new_session()
                if self._major == 2:
                    self._log_in_by_form(session)
                else:
                    self._log_in_by_token(session)
                self._session = session
            return self._session

    def _log_in_by_form(self, session: requests.Session) -> None:
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
        session.auth = (user, password)
        if self._exchange(session, "GET", f"{self.prefix}/pools", query={"limit": 1}).status == 401:
            raise self._login_refused()

    def _log_in_by_token(self, session: requests.Session) -> None:
        body = {"username": self._credentials.user, "password": self._credentials.password}
        answer = self._exchange(session, "POST", "/auth/token", body=body)
        if answer.status in (400, 401, 403):
            raise self._login_refused()
        token = self._decode(answer, "/auth/token").get("access_token")
        session.headers["Authorization"] = f"Bearer {token}"

    def _login_refused(self) -> AirflowLoginRefused:
        return AirflowLoginRefused(
            f"Airflow at {self.base_url} refuses the password of {self._credentials.user!r}: it was changed there, "
            "or another Airflow answers on this port",
            hint="devenv doctor",
        )

    def _exchange(
        self,
        session: requests.Session,
        method: str,
        url: str,
        *,
        query: dict[str, object] | None = None,
        body: object = None,
        form: dict[str, str] | None = None,
    ) -> _Answer:
        import requests

        def once() -> _Answer:
            with session.request(
                method,
                self.base_url + url,
                params={name: str(value) for name, value in (query or {}).items() if value is not None},
                json=body,
                data=form,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as answer:
                kind = clean(answer.headers.get("Content-Type", ""), 80)
                return _Answer(answer.status_code, clean(answer.reason, 80), kind, _body(answer))

        try:
            try:
                return once()
            except (requests.ConnectionError, requests.Timeout):
                if method != "GET":
                    raise
                # An idle connection was closed, or the laptop is busy: what changes nothing is asked again.
                return once()
        except requests.Timeout as error:
            raise AirflowUnreachable(
                f"Airflow at {self.base_url} did not answer within {self._timeout:.0f} s", hint="devenv status"
            ) from error
        except requests.RequestException as error:
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
                hint="devenv logs webserver --since 1m" if status >= 500 else None,
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


def _body(answer: requests.Response) -> bytes:
    """The whole answer, but not without end."""
    import requests

    received = bytearray()
    for piece in answer.iter_content(64 * 1024):
        received += piece
        if len(received) > _ANSWER_LIMIT:
            raise requests.RequestException(f"the answer is longer than {_ANSWER_LIMIT >> 20} MiB")
    return bytes(received)


def _reason(error: Exception) -> str:
    """The innermost cause, without the Python objects that requests names."""
    text = str(error)
    if "refused" in text:
        return "connection refused"
    if "Remote end closed" in text or "reset" in text:
        return "the connection was closed without an answer"
    return clean(text, 300)


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
