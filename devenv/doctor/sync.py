"""The DAG folder and its copy where Airflow runs."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from devenv.doctor.check import Check, Finding, failure, ok, warning
from devenv.sync.ignore import Ignore
from devenv.sync.lock import holder
from devenv.sync.roots import roots_of
from devenv.sync.scan import Scanner

if TYPE_CHECKING:
    from devenv.backends.base import Backend
    from devenv.project import Project

_LARGE = 50 * 1024 * 1024

# Runs where Airflow runs: prints path and digest of each file of the DAG folder that Airflow itself uses.
_DIGESTS = """\
import hashlib, json, os
from airflow.configuration import conf
root = conf.get("core", "dags_folder")
found = {}
for folder, folders, files in os.walk(root):
    folders[:] = [name for name in folders if name != "__pycache__"]
    for name in files:
        path = os.path.join(folder, name)
        with open(path, "rb") as stream:
            found[os.path.relpath(path, root)] = hashlib.sha256(stream.read()).hexdigest()
print("devenv:" + json.dumps(found))
"""


def checks(project: Project, backend: Backend | None, *, before: tuple[str, ...]) -> list[Check]:
    """The checks of the sync; those of the copy only with a backend."""
    found = [Check("dag-folder", "DAG folder", lambda: dag_folder(project))]
    if backend is not None:
        found += [
            Check("watch", "Watch", lambda: watch(project), needs=before),
            Check("sync", "Sync", lambda: copy(project, backend), needs=("dag-folder", *before), seconds=45),
        ]
    return found


def dag_folder(project: Project) -> Finding:
    """It exists, holds DAG files, and each can be read and sent."""
    folder = project.dag_folder
    if not folder.is_dir():
        return failure(f"there is no DAG folder {folder}", "devenv init makes one, or set [sync] dags")
    ignored = Ignore(project.settings.sync.ignore)
    unreadable, large, outside, python = [], [], [], 0
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = [name for name in folders if not ignored(_inside(folder, here / name), is_folder=True)]
        for name in files:
            path = here / name
            if ignored(_inside(folder, path), is_folder=False):
                continue
            if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                outside.append(path)
                continue
            status = path.lstat()
            python += name.endswith((".py", ".zip"))
            if stat.S_ISREG(status.st_mode) and not os.access(path, os.R_OK):
                unreadable.append(path)
            if status.st_size > _LARGE:
                large.append(path)
    if unreadable:
        return failure(f"cannot be read: {_some(unreadable, folder)}", f"chmod u+r {unreadable[0]}")
    if not python:
        return warning(f"{folder} holds no DAG file", "devenv init writes a first one")
    if outside:
        return warning(
            f"links that lead out of it are not sent: {_some(outside, folder)}", "copy what they name into it"
        )
    if large:
        return warning(f"over 50 MB, sent with each change: {_some(large, folder)}", "list it under [sync] ignore")
    return ok(f"{python} Python files")


def watch(project: Project) -> Finding:
    """Somebody sends saves."""
    found = holder(project.state_folder)
    if found is None:
        return warning("nobody watches the DAG folder: saves are not sent", "devenv watch")
    return ok(f"process {found.pid}" if found.pid else "another process")


def copy(project: Project, backend: Backend) -> Finding:
    """Airflow's DAG folder holds what the project's holds."""
    child = backend.command("scheduler", ["python", "-c", _DIGESTS], interactive=False)
    output, errors = child.communicate()
    line = next((line for line in output.decode("utf-8", "replace").splitlines() if line.startswith("devenv:")), "")
    if not line:
        said = errors.decode("utf-8", "replace").strip()[-1500:]
        return warning("Airflow's DAG folder could not be read", "devenv status", detail=said)
    there = {str(path): str(digest) for path, digest in json.loads(line.removeprefix("devenv:")).items()}
    roots = [root for root in roots_of(project) if root.name == "dags"]
    scan = Scanner(roots, Ignore(project.settings.sync.ignore)).scan()
    here = {path.removeprefix("dags/"): entry.digest for path, entry in scan.entries.items() if entry.kind == "file"}
    differ = sorted(path for path, digest in here.items() if there.get(path) != digest)
    if differ:
        return failure(
            f"{len(differ)} of {len(here)} files are not in step, the first is {differ[0]}",
            "devenv sync   sends them",
        )
    return ok(f"{len(here)} files in step")


def _inside(folder: Path, path: Path) -> str:
    return f"dags/{path.relative_to(folder).as_posix()}"


def _some(paths: list[Path], folder: Path) -> str:
    shown = ", ".join(path.relative_to(folder).as_posix() for path in paths[:3])
    return shown if len(paths) <= 3 else f"{shown} and {len(paths) - 3} more"
