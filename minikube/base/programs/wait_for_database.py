"""Waits until the database has the schema of this image's release of Airflow; see prepare_database.py."""

from __future__ import annotations

import sys
import time

from metadata_database import (
    WAIT_SECONDS,
    NotReady,
    connection_url,
    installed_release,
    noted_release,
    say,
    wait_for_connection,
)


def wait(seconds: float) -> None:
    """Returns when the note in the database is this release.

    Raises:
        NotReady: it was not within that many seconds.
    """
    release = installed_release()
    deadline = time.monotonic() + seconds
    connection = wait_for_connection(connection_url(), seconds)
    said = ""
    while True:
        noted = noted_release(connection)
        if noted == release:
            return
        state = f"made by Airflow {noted}" if noted else "empty"
        if time.monotonic() > deadline:
            raise NotReady(
                f"the metadata database is {state} after {seconds:.0f} s, and this image has Airflow {release}; "
                "the scheduler's init container prepare-database says why"
            )
        if state != said:
            say(f"waiting for the scheduler to make the schema of Airflow {release}: the database is {state}")
            said = state
        time.sleep(0.2)


if __name__ == "__main__":
    try:
        wait(WAIT_SECONDS)
    except NotReady as error:
        sys.exit(str(error))
