"""Which folders of a repository belong to its DAGs, by their names and by what files in them import and mention."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from devenv.origins.found import Found
from devenv.origins.text import read_text
from devenv.settings.load import FILE_NAME
from devenv.settings.schema import SyncSettings

CONVENTIONAL = ("plugins", "include")
"""Folders that Airflow, Astro, Composer and MWAA have beside the DAG folder."""
_NEVER = {
    *("tests", "test", "docs", "doc", "venv", "env", "build", "dist", "node_modules", "site-packages", "logs"),
    *("__pycache__", "terraform", "helm", "chart", "charts", "docker", "images", "scripts"),
}
_PYTHON_LIMIT = 200_000
_FILES_LIMIT = 2_000
_ROOT_FILES_LIMIT = 50
_BESIDE_LIMIT = 200
_DATA_LIMIT = 2_000
"""Files in a folder of data that is synced because a DAG file mentions it."""
_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+(\w+)", re.MULTILINE)
_HOME = re.compile(r"AIRFLOW_HOME|/opt/airflow|/usr/local/airflow|/home/airflow/gcs|__file__|DAGS_FOLDER")


def dag_folder(folder: Path) -> Iterator[Found]:
    """The only folder called `dags`, or the repository's root; else nothing.

    The root is one where Python files beside each other there name both `airflow` and `DAG`.
    """
    called = sorted(
        path for depth in ("*/dags", "*/*/dags") for path in folder.glob(depth) if _may_hold_dags(path, folder)
    )
    if len(called) == 1:
        path = called[0].relative_to(folder).as_posix()
        yield Found(("sync", "dags"), path, f"{path}/ is the only folder called dags")
    elif not called and any(_makes_dags(path) for path in sorted(folder.glob("*.py"))[:_ROOT_FILES_LIMIT]):
        yield Found(("sync", "dags"), ".", "DAG files in the project's folder itself")


def _may_hold_dags(path: Path, folder: Path) -> bool:
    parts = set(path.relative_to(folder).parts)
    if parts & _NEVER or any(part.startswith(".") for part in parts):
        return False
    return path.is_dir() and not (path.parent / FILE_NAME).exists()  # which is a project of its own


def _makes_dags(path: Path) -> bool:
    text = read_text(path)
    return "airflow" in text and re.search(r"\bDAG\b|@dag\b", text) is not None


def beside(folder: Path, dags: str) -> Path | None:
    """The folder that holds the DAG folder; None where that is the project's own folder, or lies elsewhere."""
    found = (folder / dags).resolve().parent
    return found if dags not in ("", ".") and found.is_relative_to(folder.resolve()) else None


def further_folders(folder: Path, dags: str) -> Iterator[Found]:
    """`plugins/`, `include/`, and folders beside the DAGs that files in these import from, or mention as a path.

    Args:
        folder: of the project.
        dags: the DAG folder.
    """
    home = beside(folder, dags)
    if home is None:
        return
    names = [name for name in CONVENTIONAL if _is_own(home / name, folder)]
    candidates = _candidates(home, folder, {*names, Path(dags).name})
    names += sorted(_used(home, [folder / dags, *(home / name for name in names)], candidates))
    if names:
        listed = ", ".join(f"{name}/" for name in names)
        inside = home.relative_to(folder.resolve())
        yield Found(
            ("sync", "folders"), tuple((inside / name).as_posix() for name in names), f"{listed} beside {dags}/"
        )


@dataclass(frozen=True)
class _Candidates:
    """Folders beside the DAGs that may belong to them.

    Attributes:
        modules: name that an import begins with → the folder that has it: itself, or one above (`src/shop` by `shop`).
        data: folders without modules.
    """

    modules: dict[str, str] = field(default_factory=dict)
    data: set[str] = field(default_factory=set)


def _is_own(path: Path, folder: Path) -> bool:
    """Whether it is a folder of the repository, and no link out of it."""
    return path.is_dir() and path.resolve().is_relative_to(folder.resolve())


def _candidates(home: Path, folder: Path, known: set[str]) -> _Candidates:
    found = _Candidates()
    for path in sorted(itertools.islice(home.iterdir(), _BESIDE_LIMIT)):
        name = path.name
        if name in known or name in _NEVER or name.startswith(".") or (path / FILE_NAME).exists():
            continue
        if not _is_own(path, folder):
            continue
        if (path / "__init__.py").is_file():
            found.modules[name] = name
            continue
        inner = [below for below in itertools.islice(path.iterdir(), _BESIDE_LIMIT) if not below.name.startswith(".")]
        modules = [below for below in inner if below.suffix == ".py" or (below / "__init__.py").is_file()]
        for below in modules:
            found.modules.setdefault(below.stem, name)
        if modules:
            found.modules[name] = name  # also a package without __init__.py (PEP 420)
        else:
            found.data.add(name)
    return found


def _used(home: Path, folders: list[Path], candidates: _Candidates) -> set[str]:
    """The candidates that files below these folders use, or a candidate that is used does, by their text."""
    used: set[str] = set()
    waiting = list(folders)
    everything = {*candidates.modules.values(), *candidates.data}
    while waiting and used != everything:
        more = _named(waiting.pop(0), candidates) - used
        used |= more
        waiting += [home / name for name in sorted(more - candidates.data)]
    return {name for name in used if name not in candidates.data or _is_small(home / name)}


def _named(folder: Path, candidates: _Candidates) -> set[str]:
    """The candidates that files below a folder use. Each command asks, so it ends early."""
    found: set[str] = set()
    if not (candidates.modules or candidates.data):
        return found
    own = {path.stem for path in folder.iterdir()} if folder.is_dir() else set()
    modules = {name: where for name, where in candidates.modules.items() if name not in own}
    names = "|".join(map(re.escape, sorted(candidates.data)))
    mention = re.compile(rf"""["'/]({names})(["'/])""")
    for path in itertools.islice(folder.rglob("*.py"), _FILES_LIMIT):
        text = read_text(path, _PYTHON_LIMIT)
        found |= {modules[name] for name in modules.keys() & set(_IMPORT.findall(text))}
        if candidates.data and _HOME.search(text):
            found |= {match.group(1) for match in mention.finditer(text)}
        elif candidates.data:
            found |= {match.group(1) for match in mention.finditer(text) if match.group(2) == "/"}
    return found


def _is_small(folder: Path) -> bool:
    return sum(1 for _ in itertools.islice(folder.rglob("*"), _DATA_LIMIT + 1)) <= _DATA_LIMIT


def python_path(folder: Path, sync: SyncSettings, home: str) -> list[str]:
    """What belongs on PYTHONPATH where the synced folders lie below `home`.

    A folder that is a package is imported by its own name, as where the owner's working folder or image has the
    project's root on the path; any other holds modules, or is a package without `__init__.py` (PEP 420), as `include/`
    of an Astro project is.

    Args:
        folder: of the project.
        sync: its folders and further entries.
        home: `/opt/airflow`, or where it lies on this machine.
    """
    folders = sync.folders
    packages = [name for name in folders if (folder / name / "__init__.py").is_file()]
    modules = [name for name in folders if name not in packages or Path(name).name in CONVENTIONAL]
    found = [f"{home}/{Path(name).name}" for name in modules]
    found += [home if name in (".", "") else f"{home}/{name}" for name in sync.python_path]
    if any(Path(name).name != "plugins" or name in packages for name in folders):
        found.append(home)
    return list(dict.fromkeys(found))
