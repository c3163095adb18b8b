"""Lists of Python packages: the release that one names, and lists that devenv does not read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from devenv.origins.found import Found, NotTaken
from devenv.origins.text import read_text

_CONSTRAINTS = re.compile(r"constraints-(\d+\.\d+\.\d+)/constraints-")
_AIRFLOW = re.compile(r"^[^#\n]*?(?<![\w-])apache-airflow(?:\[[^\]]*\])?\s*==\s*(\d+\.\d+\.\d+)\b", re.MULTILINE)
_POETRY = re.compile(
    r"""^\s*apache-airflow\s*=\s*(?:\{[^}\n]*version\s*=\s*)?["'](?:==)?(\d+\.\d+\.\d+)["']""", re.MULTILINE
)
LISTS = {
    "uv.lock": "uv export --no-hashes --no-emit-project --output-file requirements.txt",
    "poetry.lock": "poetry export --without-hashes --output requirements.txt",
    "Pipfile.lock": "pipenv requirements > requirements.txt",
    "environment.yml": "write its packages into requirements.txt",
}
"""Other tools' lists of packages → the command that makes requirements.txt of one."""


def read(folder: Path, file: Path) -> Iterator[Found]:
    """The release by a version of apache-airflow, or by the line of constraints, in a list of packages."""
    text = read_text(file)
    found = _CONSTRAINTS.findall(text) or _AIRFLOW.findall(text)
    if not found and file.name != "requirements.txt":
        found = _POETRY.findall(text)
    for release in dict.fromkeys(found):
        yield Found(("airflow", "version"), release, file.relative_to(folder).as_posix())


def packages_of(packages: Sequence[str], source: str) -> NotTaken:
    """Packages that a file other than requirements.txt has installed."""
    return NotTaken(
        f"the packages {' '.join(packages)}", source, "write them into requirements.txt", packages=tuple(packages)
    )


def not_read(folder: Path) -> Iterator[NotTaken]:
    """The list of another tool, where there is no requirements.txt."""
    for name, command in LISTS.items():
        if (folder / name).is_file():
            yield NotTaken("its packages", name, command)
            return
