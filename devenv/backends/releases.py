"""Moving an environment between releases of Airflow: forward by migrating its database, never back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devenv.airflow.releases import Release
from devenv.errors import RefusedError

if TYPE_CHECKING:
    from devenv.backends.platform import PlatformBackend

_CLAIM = "postgres-data"
_NOTE = "devenv.io/airflow-release"
"""On the database's claim, which lives as long as the data: the release whose schema the database has."""


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
    claim = backend.cluster().get("PersistentVolumeClaim", _CLAIM, backend.namespace)
    annotations = (claim["metadata"].get("annotations") or {}) if claim is not None else {}
    require_not_older(annotations.get(_NOTE), backend.release.version)


def note_release(backend: PlatformBackend) -> None:
    """Notes in the cluster that the database has been brought to this release."""
    backend.cluster().merge(
        "PersistentVolumeClaim",
        _CLAIM,
        backend.namespace,
        {"metadata": {"annotations": {_NOTE: backend.release.version}}},
    )
