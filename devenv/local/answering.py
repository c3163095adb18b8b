"""Whether Airflow answers as it should once it is healthy: packages that do not fit show only then."""

from __future__ import annotations

from devenv.airflow.client import AirflowClient
from devenv.airflow.releases import Release
from devenv.airflow.rest import AirflowRefused
from devenv.errors import DevenvError
from devenv.local.errors import AirflowBroken
from devenv.local.session import LocalSession

_TRIES = 5
"""A second apart: the first request after the start may come while the page is still loading."""
_SERVER_ERROR = 500
_LINES = 30
"""Of the page's log, below the message."""


def require_answers(session: LocalSession) -> None:
    """Makes sure that Airflow does not answer requests with errors of its own.

    A page that is slow, or a password that was changed on it, says nothing of the installation.

    Raises:
        AirflowBroken: it answers with HTTP 500 each time.
    """
    client = session.airflow()
    try:
        for remaining in reversed(range(_TRIES)):
            error = _error(client)
            if error is None:
                return
            if remaining == 0 or session.cancelled.wait(1.0):
                raise _broken(session, error) from error
    finally:
        client.close()


def _error(client: AirflowClient) -> AirflowRefused | None:
    try:
        client.require_answers()
    except AirflowRefused as error:
        return error if error.status >= _SERVER_ERROR else None
    except DevenvError:
        return None
    return None


def _broken(session: LocalSession, error: AirflowRefused) -> AirflowBroken:
    """What is wrong, with the page's last lines."""
    page = Release(session.release).page
    log = session.places.logs / f"{page}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return AirflowBroken(
        f"Airflow {session.release} runs, but does not answer as it should: {error.message}",
        hint=f"devenv logs {page}; look at what requirements.txt asks for",
        detail="\n".join(lines[-_LINES:]),
    )
