"""Folders of a repository that a container has below its AIRFLOW_HOME, by a volume or a COPY."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devenv.origins.found import Found, NotTaken

_HOME = re.compile(r"(?:/opt/airflow|/usr/local/airflow|/home/airflow/gcs|\$\{?AIRFLOW_HOME\}?)(?:/(.*))?")
_CONFIGURATION = "airflow.cfg"
_OWN = {"logs", _CONFIGURATION, "webserver_config.py", "requirements.txt", "packages.txt", ""}
"""What devenv has of its own there, or reads from the project's folder."""


@dataclass(frozen=True)
class Mount:
    """A file or folder of this machine, and where a container has it."""

    path: Path
    target: str

    @property
    def below_home(self) -> str | None:
        """Where that is below AIRFLOW_HOME: `dags`, `config/x.json`, "" for the home itself; None elsewhere."""
        match = _HOME.fullmatch(posixpath.normpath(self.target))
        return (match.group(1) or "") if match else None


def inside(path: Path, folder: Path) -> str | None:
    """The path from the project's folder; None where it lies elsewhere or does not exist."""
    resolved, root = path.resolve(), folder.resolve()
    if not resolved.exists() or not resolved.is_relative_to(root):
        return None
    return resolved.relative_to(root).as_posix()


def folders_of(folder: Path, mounts: Sequence[Mount], source: str) -> Iterator[Found | NotTaken]:
    """The DAG folder and further folders that a container has below AIRFLOW_HOME.

    Args:
        folder: of the project.
        mounts: what the container has.
        source: the file that says so.
    """
    folders: list[str] = []
    for mount in mounts:
        name, path = mount.below_home, inside(mount.path, folder)
        if name is None or path is None or not mount.path.is_dir() or path == ".":
            continue
        if name == "dags":
            yield Found(("sync", "dags"), path, source)
        elif name in _OWN or name.startswith("dags/"):
            continue
        elif Path(path).name == name:
            folders.append(path)
            if (mount.path / _CONFIGURATION).is_file():
                hint = "write the options that you changed below [airflow.config.SECTION] in devenv.toml"
                yield NotTaken(f"{path}/{_CONFIGURATION}", source, hint)
        else:
            hint = f"devenv has each folder under its own name: $AIRFLOW_HOME/{Path(path).name}"
            yield NotTaken(f"{path}/ as {mount.target}", source, hint)
    if folders:
        yield Found(("sync", "folders"), tuple(dict.fromkeys(folders)), source)


def python_path_of(folder: Path, value: str, source: str) -> Iterator[Found]:
    """The entries of a container's PYTHONPATH that are folders of the repository below AIRFLOW_HOME.

    Args:
        folder: of the project.
        value: of PYTHONPATH.
        source: the file that sets it.
    """
    entries: list[str] = []
    folders: list[str] = []
    for entry in value.split(":"):
        name = Mount(folder, entry).below_home if entry else None
        if name is None or name in ("dags", "plugins"):
            continue
        entries.append(name or ".")
        top = name.partition("/")[0]
        if top and top != "dags" and (folder / top).is_dir():
            folders.append(top)
    if folders:
        yield Found(("sync", "folders"), tuple(dict.fromkeys(folders)), source)
    if entries:
        yield Found(("sync", "python_path"), tuple(dict.fromkeys(entries)), source)
