"""Where the synced roots lie for Airflow, and how a path of there is called everywhere else: `dags/etl.py`."""

from __future__ import annotations

import os
from typing import Dict, Iterator, List, Mapping, Optional, Set, Tuple

from devenv.agent.source import decoded, split_lines

EXCERPT_BEFORE = 2
EXCERPT_AFTER = 1
_LINE_LIMIT = 300
_UNSYNCED = {"__pycache__", ".venv", "node_modules", ".git", ".ipynb_checkpoints"}
"""Folders that `devenv.sync.ignore` leaves out, so that a check of the project itself does not look into them."""


class Places:
    """Root → folder, and the way back."""

    def __init__(self, folders: Mapping[str, str], dags: str = "dags") -> None:
        """Takes the folders as Airflow sees them and the name of the one that is its DAG folder."""
        self.folders: Dict[str, str] = {root: os.path.abspath(folder) for root, folder in folders.items()}
        self.dags = dags
        prefixes: List[Tuple[str, str]] = [
            (form.rstrip("/") + "/", root)
            for root, folder in self.folders.items()
            for form in {folder, os.path.realpath(folder)}
        ]
        self._prefixes = sorted(prefixes, key=lambda item: -len(item[0]))

    @property
    def dag_folder(self) -> str:
        """Airflow's DAG folder."""
        return self.folders[self.dags]

    def name(self, path: object) -> Optional[str]:
        """`/opt/airflow/dags/etl.py` → `dags/etl.py`; None for what lies below no root."""
        if not isinstance(path, str):
            return None
        for prefix, root in self._prefixes:
            if path.startswith(prefix):
                rest = path[len(prefix) :]
                return f"{root}/{os.path.normpath(rest)}" if "/../" in rest or "/./" in rest else f"{root}/{rest}"
        return None

    def path(self, name: str) -> str:
        """`dags/etl.py` → `/opt/airflow/dags/etl.py`."""
        root, _, rest = name.partition("/")
        folder = self.folders.get(root)
        return os.path.join(folder, rest) if folder is not None else name

    def lines(self, name: str) -> List[str]:
        """The lines of a file below the roots, as Python counts them; none when it cannot be read."""
        return split_lines(self.text(name))

    def text(self, name: str) -> str:
        """The text of a file below the roots; "" when it cannot be read."""
        try:
            with open(self.path(name), "rb") as stream:
                return decoded(stream.read(4_000_000))
        except OSError:
            return ""

    def excerpt(self, name: str, line: int) -> Tuple[List[str], int]:
        """The lines around a line (1-based), and the number of the first."""
        lines = self.lines(name)
        if not 1 <= line <= len(lines):
            return [], 0
        first = max(1, line - EXCERPT_BEFORE)
        return [text[:_LINE_LIMIT] for text in lines[first - 1 : line + EXCERPT_AFTER]], first

    def walk(self) -> Iterator[str]:
        """The files below the DAG folder; as Airflow does, links to folders are followed."""
        seen = {os.path.realpath(self.dag_folder)}
        for folder, below, files in os.walk(self.dag_folder, followlinks=True):
            below[:] = [name for name in below if name not in _UNSYNCED and _is_new(os.path.join(folder, name), seen)]
            if "pyvenv.cfg" in files:  # a virtual environment, which is not synced
                below.clear()
                continue
            for file in files:
                name = self.name(os.path.join(folder, file))
                if name is not None:
                    yield name

    def dag_files(self) -> Iterator[str]:
        """The files below the DAG folder that Airflow may take for DAG files, by their names."""
        return (name for name in self.walk() if self.is_dag_file(name))

    def is_dag_file(self, name: str) -> bool:
        """Whether Airflow may take a file for a DAG file, by its name."""
        base = name.rpartition("/")[2]
        return name.startswith(self.dags + "/") and name.endswith((".py", ".zip")) and not base.startswith(".devenv-")


def _is_new(path: str, seen: Set[str]) -> bool:
    """Whether a folder is to be walked: each once, however many links lead to it."""
    if not os.path.islink(path):
        return True
    real = os.path.realpath(path)
    inside = any(real == one or one.startswith(real + os.sep) for one in seen)
    seen.add(real)
    return not inside
