"""What a repository shows of itself: folders that belong to its DAGs, and the release of Airflow that it runs on.

Real repositories were laid out for Astro, Composer, MWAA, the compose file of Airflow's documentation, or an image of
their own. What is unambiguous there is taken over where `devenv.toml` says nothing.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devenv.files import read_regular
from devenv.settings.load import FILE_NAME
from devenv.settings.schema import Settings

CONVENTIONAL = ("plugins", "include")
"""Folders that Airflow, Astro, Composer and MWAA have beside the DAG folder."""
_NEVER = {"tests", "test", "docs", "doc", "venv", "env", "build", "dist", "node_modules", "site-packages", "logs"}
_PYTHON_LIMIT = 200_000
_FILES_LIMIT = 2_000
_TEXT_LIMIT = 262_144
_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+(\w+)", re.MULTILINE)
_IMAGES = (
    re.compile(r"^\s*FROM\s+(?:\S+/)?apache/airflow:(?:slim-)?(\d+\.\d+\.\d+)", re.MULTILINE | re.IGNORECASE),
    re.compile(r"apache/airflow:(?:slim-)?(\d+\.\d+\.\d+)"),
)
_RUNTIME = re.compile(r"^\s*FROM\s+\S*astro(?:nomer/astro-)?-?runtime:(\d+(?:\.\d+)?)", re.MULTILINE | re.IGNORECASE)
_RUNTIMES = {
    "9": "2.7.3",
    "10": "2.8.4",
    "11": "2.9.3",
    "12": "2.10.5",
    "13": "2.11.2",
    "3.0": "3.0.6",
    "3.1": "3.1.8",
    "3.2": "3.2.2",
    "3.3": "3.3.2",
}
"""Astro Runtime → the newest patch of the release of Airflow that it is made of (Astro Runtime's release notes)."""
_COMPOSE_FILES = ("docker-compose.yaml", "docker-compose.yml", "compose.yaml", "compose.yml")
_MOUNTED = re.compile(
    r"""^\s*(?:-\s*["']?|(?:COPY|ADD)\s+(?:--\S+\s+)*)(?P<path>[^\s"':]+(?::-\.\}[^\s"':]*)?)[:\s]\s*"""
    r"""(?:/opt/airflow|/usr/local/airflow|\$\{?AIRFLOW_HOME\}?)/dags/?(?:["':\s]|$)""",
    re.MULTILINE,
)
"""A volume of a compose file, or a COPY of a Dockerfile, that brings a folder to where Airflow has its DAG folder."""
_ROOT_FILES_LIMIT = 50
_MWAA_CONSTRAINTS = re.compile(r"constraints-(\d+\.\d+\.\d+)/constraints-")


@dataclass(frozen=True)
class Found:
    """A setting that the repository answers.

    Attributes:
        path: of the setting: ("sync", "folders").
        value: what it is set to.
        source: what says so: `Dockerfile`, or `plugins/, include/ beside dags/`.
    """

    path: tuple[str, str]
    value: Any
    source: str


def complete(folder: Path, settings: Settings) -> tuple[Settings, tuple[Found, ...]]:
    """Fills in what was not set and the repository shows.

    Args:
        folder: of the project.
        settings: what `devenv.toml`, variables and flags say.

    Returns:
        The settings that rule, and what was found.
    """
    found: list[Found] = []
    if "version" not in settings.airflow.model_fields_set:
        found += _release(folder)
    dags = settings.sync.dags
    if "dags" not in settings.sync.model_fields_set and not (folder / dags).is_dir():
        for one in _dag_folder(folder):
            found.append(one)
            dags = str(one.value)
    if "folders" not in settings.sync.model_fields_set and settings.sync.transport != "configmap":
        found += _folders(folder, dags)
    for one in found:
        section, name = one.path
        part = getattr(settings, section).model_copy(update={name: one.value})
        settings = settings.model_copy(update={section: part})
    return settings, tuple(found)


# Airflow's release


def _release(folder: Path) -> Iterator[Found]:
    """The release that an image, a compose file or a line of constraints names; nothing where two disagree."""
    versions = {version: name for name, version in _versions(folder)}
    if len(versions) == 1:
        ((version, name),) = versions.items()
        yield Found(("airflow", "version"), version, name)


def _versions(folder: Path) -> Iterator[tuple[str, str]]:
    dockerfile = _text(folder / "Dockerfile")
    runtime = _RUNTIME.search(dockerfile)
    if runtime is not None:
        tag = runtime.group(1)
        version = _RUNTIMES.get(tag) or _RUNTIMES.get(tag.partition(".")[0], "")
        if version:
            yield "Dockerfile", version
        return
    image = _IMAGES[0].search(dockerfile)
    if image is not None:
        yield "Dockerfile", image.group(1)
        return
    for name in _COMPOSE_FILES:
        image = _IMAGES[1].search(_text(folder / name))
        if image is not None:
            yield name, image.group(1)
            break
    constraints = _MWAA_CONSTRAINTS.search(_text(folder / "requirements.txt"))
    if constraints is not None:
        yield "requirements.txt", constraints.group(1)


# Folders


def has_dag_folder(folder: Path) -> bool:
    """Whether a repository without `dags/` shows where its DAG files are."""
    return any(True for _ in _dag_folder(folder))


def _dag_folder(folder: Path) -> Iterator[Found]:
    """The DAG folder that a compose file or a Dockerfile names, or the only folder called `dags`; else nothing.

    The repository's root is one where Python files beside each other there name both `airflow` and `DAG`.
    """
    named = {path: source for path, source in _named_dag_folders(folder) if (folder / path).is_dir()}
    if len(named) == 1:
        ((path, source),) = named.items()
        yield Found(("sync", "dags"), path, source)
        return
    called = sorted(
        path for depth in ("*/dags", "*/*/dags") for path in folder.glob(depth) if _may_hold_dags(path, folder)
    )
    if len(called) == 1:
        path = called[0].relative_to(folder).as_posix()
        yield Found(("sync", "dags"), path, f"{path}/ is the only folder called dags")
    elif not called and any(_makes_dags(path) for path in sorted(folder.glob("*.py"))[:_ROOT_FILES_LIMIT]):
        yield Found(("sync", "dags"), ".", "DAG files in the project's folder itself")


def _named_dag_folders(folder: Path) -> Iterator[tuple[str, str]]:
    for name in (*_COMPOSE_FILES, "Dockerfile"):
        for match in _MOUNTED.finditer(_text(folder / name)):
            path = match["path"].removeprefix("${AIRFLOW_PROJ_DIR:-.}/").removeprefix("./").strip("/")
            if path and ".." not in Path(path).parts and not path.startswith(("$", "/", "~")):
                yield path, name


def _may_hold_dags(path: Path, folder: Path) -> bool:
    parts = set(path.relative_to(folder).parts)
    if parts & _NEVER or any(part.startswith(".") for part in parts):
        return False
    return path.is_dir() and not (path.parent / FILE_NAME).exists()  # which is a project of its own


def _makes_dags(path: Path) -> bool:
    text = _text(path)
    return "airflow" in text and re.search(r"\bDAG\b|@dag\b", text) is not None


def _folders(folder: Path, dags: str) -> Iterator[Found]:
    """`plugins/`, `include/`, and packages beside the DAG folder that these, or DAG files, import."""
    beside = (folder / dags).resolve().parent
    if dags in ("", ".") or not beside.is_relative_to(folder.resolve()):
        return
    names = [name for name in CONVENTIONAL if (beside / name).is_dir()]
    packages = {path.parent.name for path in beside.glob("*/__init__.py")}
    packages -= {*names, *_NEVER, Path(dags).name}
    names += sorted(_used(beside, [folder / dags, *(beside / name for name in names)], packages))
    inside = beside.relative_to(folder.resolve())
    if names:
        listed = ", ".join(f"{name}/" for name in names)
        yield Found(
            ("sync", "folders"),
            tuple((inside / name).as_posix() for name in names),
            f"{listed} beside {dags}/",
        )


def _used(beside: Path, folders: list[Path], packages: set[str]) -> set[str]:
    """Those of the packages that files below these folders import, or a package that is used does, by their text."""
    used: set[str] = set()
    waiting = list(folders)
    while waiting and used != packages:
        more = _imported(waiting.pop(0), packages - used)
        used |= more
        waiting += [beside / name for name in sorted(more)]
    return used


def _imported(folder: Path, packages: set[str]) -> set[str]:
    """Those of the packages that files below a folder import; each command asks, so it ends early."""
    found: set[str] = set()
    if packages:
        for path in itertools.islice(folder.rglob("*.py"), _FILES_LIMIT):
            found |= packages.intersection(_IMPORT.findall(_text(path, _PYTHON_LIMIT)))
            if found == packages:
                break
    return found


def _text(path: Path, limit: int = _TEXT_LIMIT) -> str:
    try:
        return (read_regular(path, limit) or b"").decode("utf-8", "replace")
    except OSError:
        return ""


def python_path(folder: Path, folders: tuple[str, ...], home: str) -> list[str]:
    """What belongs on PYTHONPATH where the synced folders lie below `home`.

    A folder that is a package is imported by its own name, as where the owner's working folder or image has the
    project's root on the path; any other holds modules.

    Args:
        folder: of the project.
        folders: `sync.folders`.
        home: `/opt/airflow`, or where it lies on this machine.
    """
    packages = [name for name in folders if (folder / name / "__init__.py").is_file()]
    modules = [name for name in folders if name not in packages or Path(name).name in CONVENTIONAL]
    found = [f"{home}/{Path(name).name}" for name in modules]
    return [*found, home] if packages else found
