"""Moving an environment between releases of Airflow: forward by migrating its database, never back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from devenv.airflow.releases import Release
from devenv.cluster.errors import ClusterError
from devenv.cluster.objects import DATABASE_CLAIM, RELEASE_ANNOTATION
from devenv.errors import RefusedError

if TYPE_CHECKING:
    from devenv.backends.platform import PlatformBackend


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


def require_move(backend: PlatformBackend) -> None:
    """Refuses to change anything in a cluster whose database a later release made.

    The init container `prepare-database` would refuse too, but only after the pods of the later release are gone.

    Raises:
        ReleaseTooOld: it is so.
    """
    claim = backend.cluster().get("PersistentVolumeClaim", DATABASE_CLAIM, backend.namespace)
    if claim is None:
        return
    started = (claim["metadata"].get("annotations") or {}).get(RELEASE_ANNOTATION)
    if started is None or Release(started).numbers > backend.release.numbers:
        # An `up` that was interrupted may have started it, and not migrated: the database itself knows.
        require_not_older(_made_by(backend) or started, backend.release.version)


def _made_by(backend: PlatformBackend) -> str | None:
    """The release that the metadata database's own note names; None where it does not run, or has no note."""
    from devenv.cluster.exec import run_in_pod

    command = ["psql", "-U", "airflow", "-Atc", COMMENT_QUERY]
    try:
        _code, said, _errors = run_in_pod(backend.cluster(), backend.namespace, "postgres-0", "postgres", command)
    except ClusterError:
        return None
    return release_in(said.decode("utf-8", "replace"))


def release_in(comment: str) -> str | None:
    """The release in the comment that `minikube/base/programs/metadata_database.py` leaves on the database it made."""
    found = re.fullmatch(r"made by devenv with Airflow (\d+\.\d+\.\d+)", comment.strip())
    return found[1] if found else None
