"""Astro: `airflow_settings.yaml`. Its runtime's release stands in the `Dockerfile`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from devenv.origins.found import NotTaken
from devenv.origins.text import read_yaml

SETTINGS = "airflow_settings.yaml"
_KINDS = {"connections": "conn_id", "variables": "variable_name", "pools": "pool_name"}


def read(folder: Path, file: Path) -> Iterator[NotTaken]:
    """What it has of connections, variables and pools; `astro dev init` writes it with an empty entry of each."""
    content = read_yaml(file)
    airflow = content.get("airflow") if isinstance(content, dict) else None
    counts = {
        kind: sum(1 for entry in entries if isinstance(entry, dict) and entry.get(key))
        for kind, key in _KINDS.items()
        if isinstance(airflow, dict) and isinstance(entries := airflow.get(kind), list)
    }
    if any(counts.values()):
        source = file.relative_to(folder).as_posix()
        listed = ", ".join(f"{count} {kind if count > 1 else kind[:-1]}" for kind, count in counts.items() if count)
        yield NotTaken(listed, source, f"devenv secrets import {source}")
