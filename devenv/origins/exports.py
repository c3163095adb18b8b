"""Files of `airflow variables export` and `airflow connections export`, which teams keep beside their DAGs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from devenv.origins.found import NotTaken

PATTERNS = ("*variables*.json", "*connections*.json")


def read(folder: Path, file: Path) -> Iterator[NotTaken]:
    """What such a file is called by; its values are taken at the user's word alone.

    Args:
        folder: of the project.
        file: only one directly in that folder is named.
    """
    if file.parent == folder:
        kind = "connections" if "connections" in file.name else "variables"
        yield NotTaken(f"its {kind}", file.name, f"devenv secrets import {file.name} --as {kind}")
