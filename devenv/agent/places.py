"""Where the synced roots lie for Airflow, and how a path of there is called everywhere else: `dags/etl.py`."""

from __future__ import annotations

import os
from typing import Dict, List, Mapping, Optional, Tuple

from devenv.agent.source import decoded, split_lines

EXCERPT_BEFORE = 2
EXCERPT_AFTER = 1
_LINE_LIMIT = 300


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
