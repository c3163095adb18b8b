"""Where an environment answers and who may log in: the end of `devenv up`, and `devenv status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from devenv.cli.context import console
from devenv.console.tables import Cell

if TYPE_CHECKING:
    from devenv.backends.base import Backend, EnvironmentStatus

_PAGES = {"webserver": "Airflow", "api-server": "Airflow", "airflow": "Airflow"}


def urls(status: EnvironmentStatus) -> dict[str, str]:
    """Name for a person → URL, Airflow's first."""
    named = {_PAGES.get(name, name.capitalize()): url for name, url in status.urls.items()}
    return dict(sorted(named.items(), key=lambda item: item[0] != "Airflow"))


def print_summary(backend: Backend, status: EnvironmentStatus, *, reveal: bool) -> None:
    """URLs, user, password and how to stop, on standard output.

    Args:
        backend: for the credentials.
        status: as it is now.
        reveal: show the password also where output is not a terminal.
    """
    out = console()
    credentials = backend.credentials()
    shown = reveal or (out.out.interactive and not out.json)
    password = credentials.password if shown else "devenv status --reveal"
    rows: list[list[Cell]] = [[Text(name, "bold"), Text(url, "cyan")] for name, url in urls(status).items()]
    rows += [
        ["User", credentials.user],
        ["Password", Text(password, "" if shown else "dim")],
        ["Stop", "devenv down        keeps the data; devenv destroy removes it"],
    ]
    width = max(len(str(row[0])) for row in rows)
    out.print("", *(Text.assemble("  ", _padded(row[0], width), "   ", row[1]) for row in rows), "")
    out.record(
        "summary",
        {
            "backend": status.backend,
            "identifier": status.identifier,
            "state": status.state,
            "urls": status.urls,
            "user": credentials.user,
            "password": credentials.password if reveal else None,
        },
    )


def _padded(cell: Cell, width: int) -> Text:
    text = cell.copy() if isinstance(cell, Text) else Text(cell)
    text.pad_right(width - text.cell_len)
    return text
