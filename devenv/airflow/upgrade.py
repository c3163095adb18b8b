"""Moving an environment between releases of Airflow: forward by migrating its database, never back."""

from __future__ import annotations

import re

from devenv.airflow.releases import Release
from devenv.errors import RefusedError

COMMENT_QUERY = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
"""Asks Postgres for the comment on the database that one is connected to; see `release_in`."""


class ReleaseTooOld(RefusedError):
    """The metadata database was made by a later release of Airflow than the one that is asked for.

    Airflow's migrations back (`airflow db downgrade`) drop what the older release has no columns for, so devenv does
    not run them. Nothing was changed: the environment goes on with the later release. Set `airflow.version` to that one
    again; or start the older one with an empty database, in a folder of its own or after `devenv destroy`.
    """

    code = "DEVENV-234"


def require_not_older(noted: str | None, wanted: str) -> None:
    """Refuses a release that is older than the one that made the database.

    Args:
        noted: the release that made it, None where that is not known.
        wanted: the one that is asked for.

    Raises:
        ReleaseTooOld: it is.
    """
    if noted and Release(noted).numbers > Release(wanted).numbers:
        raise ReleaseTooOld(
            f"The metadata database is that of Airflow {noted}, and Airflow {wanted} cannot go back to its own without "
            "losing data; nothing was changed",
            hint=f"devenv up --airflow-version {noted}; or `devenv destroy` first, for an empty database of {wanted}",
        )


def release_in(comment: str) -> str | None:
    """The release in the comment that `minikube/base/programs/metadata_database.py` leaves on the database it made."""
    found = re.fullmatch(r"made by devenv with Airflow (\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?)", comment.strip())
    return found[1] if found else None
