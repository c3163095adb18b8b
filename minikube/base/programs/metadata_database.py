"""Airflow's metadata database, reached without importing Airflow.

A query costs a tenth of a second, an Airflow command line four. The release that made the schema is noted in
the database itself, as a comment on it: that note is what every pod waits for, and it cannot be lost apart
from the data that it speaks of.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
import sys
import time
from typing import Any

WAIT_SECONDS = float(os.environ.get("DEVENV_WAIT_SECONDS", "300"))
_NOTE = "made by devenv with Airflow "


class NotReady(Exception):
    """The database did not become what was waited for; the message says what was seen last."""


def option(section: str, name: str) -> str | None:
    """An option of Airflow: from the environment, else from the file that AIRFLOW_CONFIG names."""
    value = os.environ.get(f"AIRFLOW__{section.upper()}__{name.upper()}")
    if value is not None:
        return value
    config = configparser.RawConfigParser()
    config.read(os.environ["AIRFLOW_CONFIG"], encoding="utf-8")
    value = config.get(section, name, fallback=None)
    return value.replace("%%", "%") if value is not None else None


def connection_url() -> str:
    """The URL of the metadata database, as Airflow has it."""
    url = option("database", "sql_alchemy_conn")
    if not url:
        raise NotReady(
            f"[database] sql_alchemy_conn is set neither in the environment nor in {os.environ['AIRFLOW_CONFIG']}"
        )
    return url


def is_postgres(url: str) -> bool:
    """Whether the note can be kept in it (SQLite has no comments on a database)."""
    return url.startswith("postgres")


def connect(url: str) -> Any:
    """A psycopg2 connection in autocommit mode.

    Raises:
        psycopg2.OperationalError: it does not answer, or refuses the password.
    """
    import psycopg2

    connection = psycopg2.connect(re.sub(r"^postgres(ql)?(\+\w+)?:", "postgresql:", url), connect_timeout=5)
    connection.autocommit = True
    return connection


def wait_for_connection(url: str, seconds: float = WAIT_SECONDS) -> Any:
    """`connect`, tried again until it succeeds.

    Raises:
        NotReady: not within that many seconds.
    """
    import psycopg2

    deadline = time.monotonic() + seconds
    said = ""
    while True:
        try:
            return connect(url)
        except psycopg2.OperationalError as error:  # noqa: PERF203 (it waits)
            reason = str(error).strip().splitlines()[0]
            if time.monotonic() > deadline:
                raise NotReady(f"the metadata database did not answer within {seconds:.0f} s: {reason}") from error
            if reason != said:
                say(f"waiting for the metadata database: {reason}")
                said = reason
            time.sleep(0.2)


def noted_release(connection: Any) -> str | None:
    """The release of Airflow that made the schema, or None in a database that none has made yet."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        )
        comment = cursor.fetchone()[0] or ""
    return comment[len(_NOTE) :] if comment.startswith(_NOTE) else None


def note_release(connection: Any, release: str) -> None:
    """Notes which release made the schema, for those who wait for it."""
    from psycopg2 import sql

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        database = sql.Identifier(cursor.fetchone()[0])
        cursor.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(_NOTE + release)))


def installed_release() -> str:
    """The release of Airflow that this image has."""
    try:
        return importlib.metadata.version("apache-airflow-core")  # 3.x
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version("apache-airflow")


def as_numbers(release: str) -> tuple[int, ...]:
    """A release in a form that sorts: "2.10.1" comes after "2.7.2"."""
    return tuple(int(number) for number in re.findall(r"\d+", release)[:3])


def say(message: str) -> None:
    """A line in the log of the container."""
    print(message, file=sys.stderr, flush=True)
