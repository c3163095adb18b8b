"""Google Composer: its image's version in Terraform or in the Composer local development tool, and `data/`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from devenv.origins.found import Found, NotTaken
from devenv.origins.homes import inside
from devenv.origins.text import read_text

PATTERNS = ("*.tf", "composer/*/config.json")
_IMAGE = re.compile(r"composer-[\d.a-z-]+-airflow-(\d+\.\d+\.\d+)")
_PACKAGES = re.compile(r"\bpypi_packages\s*=")


def read(folder: Path, file: Path) -> Iterator[Found | NotTaken]:
    """The release that an image's version names: `composer-2.9.7-airflow-2.9.3` (Composer's version list).

    Args:
        folder: of the project.
        file: of Terraform, or `composer/NAME/config.json` of composer-local-dev.
    """
    source = file.relative_to(folder).as_posix()
    text = read_text(file)
    releases = set(_IMAGE.findall(text))
    for release in releases:
        yield Found(("airflow", "version"), release, source)
    if releases and _PACKAGES.search(text):
        yield NotTaken("pypi_packages", source, "write these packages into requirements.txt")
    if releases and file.name == "config.json":
        yield from _local_environment(folder, file, text, source)


def _local_environment(folder: Path, file: Path, text: str, source: str) -> Iterator[Found]:
    """What composer-local-dev keeps beside its configuration: variables, requirements, the DAG folder's path."""
    try:
        settings = json.loads(text)
    except ValueError:
        return
    path = settings.get("dags_path") if isinstance(settings, dict) else None
    if isinstance(path, str) and (dags := inside(folder / path, folder)) not in (None, "."):
        yield Found(("sync", "dags"), dags, source)
    for setting, name in (("env_file", "variables.env"), ("requirements", "requirements.txt")):
        beside = file.with_name(name)
        if read_text(beside).strip():
            yield Found((setting,), beside.relative_to(folder).as_posix(), beside.relative_to(folder).as_posix())
