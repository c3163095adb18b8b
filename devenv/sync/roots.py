"""The folders of a project that are synced."""

from __future__ import annotations

from pathlib import PurePosixPath

from devenv.errors import MissingError, UsageError
from devenv.project import Project
from devenv.sync.model import Root


class DagFolderMissing(MissingError):
    """The DAG folder is not there.

    Perhaps this is another folder than the project's, or `[sync] dags` names a wrong one. `devenv init` makes one with
    a first DAG.
    """

    code = "DEVENV-522"


class RootsClash(UsageError):
    """Two synced folders would have the same name in the cluster: the last part of their paths is the same."""

    code = "DEVENV-523"


def roots_of(project: Project) -> tuple[Root, ...]:
    """The DAG folder, named `dags` whatever it is called here, and the further folders by their last name.

    Raises:
        RootsClash: two would have the same name.
    """
    roots = [Root("dags", project.dag_folder)]
    for folder in project.settings.sync.folders:
        name = PurePosixPath(folder).name
        if any(root.name == name for root in roots):
            raise RootsClash(f"two synced folders are named {name!r}: {folder} and another", hint="see [sync] folders")
        roots.append(Root(name, project.folder / folder))
    return tuple(roots)


def require_dag_folder(project: Project) -> None:
    """Checks that there is a DAG folder to sync.

    Raises:
        DagFolderMissing: there is none.
    """
    if not project.dag_folder.is_dir():
        raise DagFolderMissing(f"there is no DAG folder at {project.dag_folder}", hint="devenv init")
