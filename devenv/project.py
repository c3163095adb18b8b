"""The project: the folder that holds `devenv.toml` and the DAG folder, and who it is to a cluster."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from devenv import state_folder
from devenv.environment import Environment
from devenv.errors import UsageError
from devenv.origins.complete import complete, has_dag_folder
from devenv.origins.found import Found, NotTaken
from devenv.published import is_full, newest
from devenv.settings.load import FILE_NAME, load
from devenv.settings.remembered import choose_release, chosen_release, remembered
from devenv.settings.schema import Settings


class NoProject(UsageError):
    """This folder is not a project, nor is one above it: there is neither `devenv.toml` nor a folder `dags/`.

    Go to the repository with your DAGs, name it with `--project FOLDER`, or start one here with `devenv init`.
    """

    code = "DEVENV-102"


@dataclass(frozen=True)
class Project:
    """A project folder with its effective settings.

    Attributes:
        folder: absolute, links resolved.
        settings: what rules here.
        environment: streams, variables, clocks.
        found: what of the settings the repository itself answers.
        not_taken: what its files have besides, and devenv does not take over.
    """

    folder: Path
    settings: Settings
    environment: Environment
    found: tuple[Found, ...] = ()
    not_taken: tuple[NotTaken, ...] = ()

    @classmethod
    def find(
        cls,
        start: Path | None,
        environment: Environment,
        flags: Mapping[str, Any] | None = None,
        *,
        as_last_up: bool = True,
    ) -> Project:
        """The project that a command is about.

        Args:
            start: a folder that was named and must be the project; None looks from the working folder upwards, for
                `devenv.toml` first, then for a folder `dags/`, then for a git repository that shows where its DAG
                files are.
            environment: for the working folder and `DEVENV_…` variables.
            flags: dotted setting → value, over everything else.
            as_last_up: the flags of the last `devenv up` hold too, below `flags`.

        Raises:
            NoProject: there is none.
            SettingsError: its settings are not valid.
            ReleaseMissing: which release `[airflow] version` means cannot be found out.
        """
        folder = _named(environment.cwd / start) if start is not None else _above(environment)
        project = cls(folder, load(folder, environment, flags), environment)
        if as_last_up and (last := remembered(project.data_folder)):
            project = replace(project, settings=load(folder, environment, flags, last))
        done = complete(folder, project.settings)
        return _with_release(replace(project, settings=done.settings, found=done.found, not_taken=done.not_taken))

    @property
    def identifier(self) -> str:
        """The environment's name and a digest of the folder's path: what labels in a cluster carry.

        At most 50 characters, a valid label value: `shop-dags-1f3a9c07`.
        """
        name = self.settings.name or re.sub(r"[^a-z0-9]+", "-", self.folder.name.lower()).strip("-") or "project"
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
        return f"{name[:40].rstrip('-')}-{digest}"

    @property
    def state_folder(self) -> Path:
        """`.devenv/`: a cache that may be deleted at any time (0700, ignored by git); it need not exist.

        Raises:
            StateFolderForeign: it is there and devenv did not make it, see `devenv.state_folder`.
        """
        folder = self.folder / state_folder.NAME
        state_folder.require_ours(folder, self.data_folder)
        return folder

    def make_state_folder(self) -> Path:
        """`.devenv/`, made where it is missing.

        Raises:
            StateFolderForeign: as above.
            OSError: there is no room, or no right.
        """
        return state_folder.make(self.folder / state_folder.NAME, self.data_folder)

    @property
    def data_folder(self) -> Path:
        """What must survive a deleted `.devenv/`: a local database, seeds of secrets (0700)."""
        return self.environment.data_folder / "environments" / self.identifier

    @property
    def dag_folder(self) -> Path:
        """The DAG folder."""
        return self.folder / self.settings.sync.dags

    @property
    def requirements(self) -> Path:
        """The file with the DAGs' Python packages; it need not exist."""
        return self.folder / self.settings.requirements


def _with_release(project: Project) -> Project:
    """The project with its release in full; of a series, the newest at first, and from then on the same.

    Raises:
        ReleaseMissing: the package index does not tell which one that is.
    """
    asked = project.settings.airflow.version
    if is_full(asked):
        return project
    release = chosen_release(project.data_folder, asked) or newest(asked, project.environment)
    choose_release(project.data_folder, asked, release)
    airflow = project.settings.airflow.model_copy(update={"version": release})
    found = Found(("airflow", "version"), release, f"the newest of {asked} when it was first asked for")
    settings = project.settings.model_copy(update={"airflow": airflow})
    return replace(project, settings=settings, found=(*project.found, found))


def _named(folder: Path) -> Path:
    folder = folder.resolve()
    if not folder.is_dir():
        raise NoProject(f"there is no folder {folder}")
    if not ((folder / FILE_NAME).exists() or (folder / "dags").is_dir() or _shows_its_dags(folder)):
        raise NoProject(
            f"{folder} has neither {FILE_NAME} nor a folder with DAG files",
            hint="devenv init --project FOLDER   makes it a project",
        )
    return folder


def _shows_its_dags(folder: Path) -> bool:
    """Whether it is a git repository with a DAG folder of another name, which can be recognised."""
    return (folder / ".git").exists() and has_dag_folder(folder)


def _above(environment: Environment) -> Path:
    start = environment.cwd.resolve()
    folders = [start, *start.parents]
    for sign in (FILE_NAME, "dags/"):
        for folder in folders:
            if (folder / sign).exists():
                return folder
    for folder in folders:
        if _shows_its_dags(folder):
            return folder
    raise NoProject(
        f"neither {start} nor a folder above it has {FILE_NAME} or a folder dags/",
        hint="devenv init   makes this folder a project; or go to the folder that holds your dags/",
    )
