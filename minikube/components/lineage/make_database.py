"""Makes Marquez' database beside Airflow's, if it is not there: the init container `make-database`."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

import psycopg2

DATABASE = "marquez"
PATIENCE_SECONDS = 120.0


def connect() -> psycopg2.extensions.connection:
    """A connection to the server that the secrets name; waits for one that starts."""
    words = shlex.split(Path("/etc/airflow/pg.env").read_text(encoding="utf-8"))
    values = dict(word.split("=", 1) for word in words)
    start = time.monotonic()
    while True:
        try:
            return psycopg2.connect(
                host=values["POSTGRES_HOST"],
                port=values["POSTGRES_PORT"],
                dbname="postgres",
                user=values["POSTGRES_USER"],
                password=values["POSTGRES_PASSWORD"],
            )
        except psycopg2.OperationalError as error:  # noqa: PERF203
            if time.monotonic() - start > PATIENCE_SECONDS:
                sys.exit(f"Postgres does not answer: {error}")
            time.sleep(0.5)


def make_database(connection: psycopg2.extensions.connection) -> bool:
    """Whether it had to be made."""
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if cursor.fetchone():
            return False
        cursor.execute(f"CREATE DATABASE {DATABASE}")
    return True


if __name__ == "__main__":
    print("made the database" if make_database(connect()) else "the database is there", flush=True)
