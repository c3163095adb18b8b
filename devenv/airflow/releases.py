"""What differs between Airflow's releases, in one place: 2.7 to 3.x.

Sources: `config_templates/config.yml`, `configuration.py` and the metadata of the wheels of 2.7.3, 2.8.4, 2.9.3,
2.10.5, 2.11.0 (`apache-airflow`), 3.0.6, 3.1.8, 3.2.2, 3.3.2 and 3.4.0b2 (`apache-airflow-core`). The options are read
from them by `docs/airflow_options.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

_PYTHON = {
    (2, 7): ("3.8", "3.9", "3.10", "3.11"),
    (2, 8): ("3.8", "3.9", "3.10", "3.11"),
    (2, 9): ("3.8", "3.9", "3.10", "3.11", "3.12"),
    (2, 10): ("3.8", "3.9", "3.10", "3.11", "3.12"),
    (2, 11): ("3.9", "3.10", "3.11", "3.12"),
    (3, 0): ("3.9", "3.10", "3.11", "3.12"),
    (3, 1): ("3.10", "3.11", "3.12", "3.13"),
    (3, 2): ("3.10", "3.11", "3.12", "3.13", "3.14"),
    (3, 3): ("3.10", "3.11", "3.12", "3.13", "3.14"),
    (3, 4): ("3.11", "3.12", "3.13", "3.14"),
}

_LATEST = (3, 4)
"""The newest series that was looked at; a later one is taken to be like it."""


@dataclass(frozen=True)
class Release:
    """A release of Airflow, given in full: "2.7.2"."""

    version: str

    @property
    def numbers(self) -> tuple[int, int, int]:
        """Major, minor, patch."""
        major, minor, patch = (int(part) for part in re.findall(r"\d+", self.version)[:3])
        return major, minor, patch

    @property
    def series(self) -> tuple[int, int]:
        """Major and minor: what decides about options and components."""
        return self.numbers[:2]

    @property
    def is_3(self) -> bool:
        """Whether it is 3.x: an api-server, tasks without the database, another REST API."""
        return self.series >= (3, 0)

    @property
    def page(self) -> Literal["webserver", "api-server"]:
        """The component that serves Airflow's page and REST API."""
        return "api-server" if self.is_3 else "webserver"

    @property
    def parser(self) -> Literal["scheduler", "dag-processor"]:
        """The component that parses DAG files."""
        return "dag-processor" if self.is_3 else "scheduler"

    @property
    def components(self) -> tuple[str, ...]:
        """Airflow's own long-running processes, in the order in which they are shown."""
        if self.is_3:
            return ("scheduler", "dag-processor", "api-server", "triggerer")
        return ("scheduler", "webserver", "triggerer")

    @property
    def health_path(self) -> str:
        """Where the page's component answers how everything is."""
        return "/api/v2/monitor/health" if self.is_3 else "/health"

    @property
    def rest_version(self) -> Literal["v1", "v2"]:
        """The version of the stable REST API."""
        return "v2" if self.is_3 else "v1"

    @property
    def users(self) -> Literal["database", "file"]:
        """Where the page's users are kept: Flask-AppBuilder's tables, or the simple auth manager's file."""
        return "file" if self.is_3 else "database"

    @property
    def executors(self) -> tuple[str, ...]:
        """The executors that devenv can switch to."""
        kept = ("KubernetesExecutor", "LocalExecutor", "CeleryExecutor")
        return kept if self.is_3 else (*kept, "SequentialExecutor")

    @property
    def python_versions(self) -> tuple[str, ...]:
        """The versions of Python that it runs on, oldest first."""
        return _PYTHON.get(self.series, _PYTHON[max(_PYTHON)])

    @property
    def late_packages(self) -> tuple[str, ...]:
        """Large packages that Airflow's own processes do not import when they start (seen with 2.7.2 and 3.3.2)."""
        late = (
            "kubernetes_asyncio",
            "setuptools",
            "pkg_resources",
            "docutils",
            "pygments",
            "google",
            "grpc",
            "dns",
            "rich",
        )
        return (*late, "kubernetes") if self.is_3 else late

    @property
    def is_newer_than_known(self) -> bool:
        """Whether its options are not known yet: it is of a series later than those that were read."""
        return self.series > _LATEST

    def options(self) -> Mapping[str, frozenset[str]]:
        """Airflow's own options: section → names. Those of providers (`kubernetes_executor`) are not in it."""
        return _options(min(self.series, _LATEST))

    def successors(self, section: str, name: str) -> tuple[tuple[str, str], ...]:
        """Under which section and name an option of another release is known in this one, best first."""
        found: list[tuple[str, str]] = []
        waiting = [(section, name)]
        while waiting:
            for target in _catalogue()["renames"].get(".".join(waiting.pop(0)), "").split():
                new_section, new_name = target.split(".")
                if (new_section, new_name) in found:
                    continue
                if new_name in self.options().get(new_section, frozenset()):
                    found.append((new_section, new_name))
                else:
                    waiting.append((new_section, new_name))
        return tuple(found)


def sections_ever_known() -> frozenset[str]:
    """The sections with options of Airflow itself, in any release from 2.7 on."""
    return frozenset(_catalogue()["options"])


def was_ever_known(section: str, name: str) -> bool:
    """Whether any release from 2.7 on has, or had, this option."""
    catalogue = _catalogue()
    names = (name for texts in catalogue["options"].get(section, {}).values() for name in _words(texts))
    return f"{section}.{name}" in catalogue["renames"] or name in names


@cache
def _catalogue() -> dict[str, Any]:
    """`options.json`: for each section, which options the releases of a range have; and the renames."""
    import json

    content: dict[str, Any] = json.loads(Path(__file__).with_name("options.json").read_text(encoding="utf-8"))
    return content


@cache
def _options(series: tuple[int, int]) -> Mapping[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for section, ranges in _catalogue()["options"].items():
        names: set[str] = set()
        for span, texts in ranges.items():
            first, last = (tuple(int(number) for number in end.split(".")) for end in span.split("-"))
            if first <= series <= last:
                names.update(_words(texts))
        if names:
            found[section] = frozenset(names)
    return found


def _words(texts: str | list[str]) -> list[str]:
    return texts.split() if isinstance(texts, str) else [word for text in texts for word in text.split()]
