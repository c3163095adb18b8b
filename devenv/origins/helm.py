"""Values of a Helm chart of Airflow: the official one, and the community's (airflow-helm/charts).

https://airflow.apache.org/docs/helm-chart/stable/parameters-ref.html,
https://github.com/airflow-helm/charts/tree/main/charts/airflow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from devenv.origins.dockerfile import release_of_image
from devenv.origins.found import Found, NotTaken
from devenv.origins.packages import packages_of
from devenv.origins.text import read_yaml
from devenv.origins.variables import EXECUTOR, is_taken, taken

PATTERNS = ("*values*.y*ml",)
_RELEASE = re.compile(r"(?:slim-)?(\d+\.\d+\.\d+)(?:-\S+)?")
_TEMPLATE = "{{"


def read(folder: Path, file: Path, *, whole: bool = False) -> Iterator[Found | NotTaken]:
    """What the values of a chart show.

    What an environment in a cluster has of variables and options is for that environment: it is taken over only where
    the user names the file.

    Args:
        folder: of the project.
        file: the values.
        whole: variables and options too.
    """
    source = file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)
    values = read_yaml(file)
    if not isinstance(values, dict):
        return
    for release in _releases(values):
        yield Found(("airflow", "version"), release, source)
    sync = _at(values, "dags", "gitSync")
    path = str(sync.get("subPath") or sync.get("repoSubPath") or "").strip("/") if _is_on(sync) else ""
    if path and ".." not in Path(path).parts and (folder / path).is_dir():
        yield Found(("sync", "dags"), path, source)
    if not _is_chart(values):
        return
    environment, options = _environment(values), _options(values)
    if whole:
        yield from taken(environment, source, below_env_file=True)
        for (section, key), value in options.items():
            yield Found(("airflow", "config", section, key), value, source)
    elif environment or options:
        names = [*environment, *(f"[{section}] {key}" for section, key in options)]
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield NotTaken(some, source, f"devenv init --from {source}   where they hold on a laptop too")
    packages = _at(values, "airflow").get("extraPipPackages")
    if isinstance(packages, list) and packages:
        yield packages_of([str(one) for one in packages], source)
    airflow = _at(values, "airflow")
    if any(airflow.get(name) for name in ("variables", "connections", "pools")):
        yield NotTaken(
            "its variables, connections and pools",
            source,
            "devenv secrets set variables/NAME, connections/NAME, pools/NAME",
        )


def _at(values: Mapping[str, Any], *path: str) -> dict[str, Any]:
    found: Any = values
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _is_on(sync: Mapping[str, Any]) -> bool:
    return str(sync.get("enabled", "true")).lower() == "true"


def _is_chart(values: Mapping[str, Any]) -> bool:
    """Whether these are values of an Airflow chart, by keys that no other chart has."""
    return bool(
        {"airflowVersion", "defaultAirflowTag", "airflowHome"} & values.keys()
        or _at(values, "images", "airflow")
        or _at(values, "dags", "gitSync")
        or _at(values, "airflow", "image")
        or _at(values, "airflow", "config")
        or "Executor" in str(values.get("executor") or "")
    )


def _releases(values: Mapping[str, Any]) -> Iterator[str]:
    """Of the newest key that names one: an image's own tag goes over the chart's."""
    for image in (_at(values, "images", "airflow"), _at(values, "airflow", "image")):
        named = f"{image.get('repository') or 'apache/airflow'}:{image.get('tag')}"
        if (release := release_of_image(named)) is not None:
            yield release
            return
    for key in ("airflowVersion", "defaultAirflowTag"):
        match = _RELEASE.fullmatch(str(values.get(key) or ""))
        if match is not None:
            yield match.group(1)
            return


def _environment(values: Mapping[str, Any]) -> dict[str, str | None]:
    """`env:` of the official chart, `airflow.extraEnv` and `airflow.config` of the community's; None for a Secret's."""
    found: dict[str, str | None] = {}
    for entries in (values.get("env"), _at(values, "airflow").get("extraEnv")):
        for one in entries if isinstance(entries, list) else ():
            if isinstance(one, dict) and one.get("name"):
                value = one.get("value")
                known = isinstance(value, str) and _TEMPLATE not in value
                found[str(one["name"])] = value if known else None
    config = _at(values, "airflow", "config")
    found |= {name: value for name, value in config.items() if isinstance(value, str) and _TEMPLATE not in value}
    executor = values.get("executor") or _at(values, "airflow").get("executor")
    if isinstance(executor, str) and executor.endswith("Executor"):
        found[EXECUTOR] = executor
    return {name: value for name, value in found.items() if name == EXECUTOR or is_taken(name)}


def _options(values: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """`config:` of the official chart, without what devenv decides and what the chart fills in."""
    return {
        (section, key): value
        for section, keys in _at(values, "config").items()
        if isinstance(keys, dict)
        for key, value in keys.items()
        if isinstance(value, str) and _TEMPLATE not in value
        if is_taken(f"AIRFLOW__{section.upper()}__{key.upper()}")
    }
