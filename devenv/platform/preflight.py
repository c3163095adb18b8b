"""What must hold before anything is changed in a cluster: a DAG folder to read, and no database of a later release."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from devenv.airflow.releases import Release
from devenv.airflow.upgrade import COMMENT_QUERY, release_in, require_not_older
from devenv.cluster.errors import ClusterError
from devenv.cluster.objects import DATABASE_CLAIM, RELEASE_ANNOTATION
from devenv.errors import MissingError

if TYPE_CHECKING:
    from devenv.platform.backend import PlatformBackend


class DagFolderUnreadable(MissingError):
    """The DAG folder does not exist, or cannot be read by this user."""

    code = "DEVENV-206"


def require_readable(folder: Path) -> None:
    """Checks that the DAG folder can be listed.

    Raises:
        DagFolderUnreadable: it cannot.
    """
    if not folder.is_dir():
        raise DagFolderUnreadable(f"There is no DAG folder at {folder}", hint="devenv init")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DagFolderUnreadable(f"The DAG folder {folder} cannot be read by this user", hint=f"chmod u+rx {folder}")


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
