"""What the package index says of Airflow's releases: which there are, and when each was published.

uv asks the index that the user has configured (`UV_INDEX_URL`, `UV_DEFAULT_INDEX`), whatever that is; the day of a
release is the upload time of its files (PEP 700, in the index's simple API).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from devenv import process
from devenv.environment import Environment
from devenv.errors import CommandFailed, DevenvError, MissingError
from devenv.files import exclusive, read_regular, write_whole

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PACKAGE = "apache-airflow"
LATEST = "latest"
_FULL = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
_SECONDS = 60.0
_KEPT = "airflow-releases.json"
_KEPT_LIMIT = 1_048_576
_AFTER = timedelta(days=1)
"""A release's own packages and providers are uploaded within hours of each other."""


class ReleaseMissing(MissingError):
    """There is no such release of Airflow on the package index, or the index cannot be asked which one is meant.

    `[airflow] version` takes a release in full (`2.10.5`, `3.4.0b2`), a series, of which the newest release is taken
    (`2.10`, `3`), or `latest`.
    """

    code = "DEVENV-410"


def uv() -> str:
    """The path of the uv that came with devenv."""
    from uv import find_uv_bin

    return str(find_uv_bin())


def uv_variables(environment: Environment) -> dict[str, str]:
    """What uv gets: never the virtual environment that the user happens to be in."""
    return {name: text for name, text in environment.variables.items() if name != "VIRTUAL_ENV"}


def is_full(version: str) -> bool:
    """Whether a version names one release: `2.10.5`, and not `2.10` or `latest`."""
    return _FULL.fullmatch(version) is not None


def newest(asked: str, environment: Environment) -> str:
    """The newest release of a series: `2.10` → `2.10.5`; `latest` → the newest of all.

    Args:
        asked: `3`, `2.10` or `latest`.
        environment: for the variables that uv gets.

    Raises:
        ReleaseMissing: the index has none, or cannot be asked.
    """
    wanted = PACKAGE if asked == LATEST else f"{PACKAGE}=={asked}.*"
    found = _ask(wanted, environment, _python_for(asked))
    if found is None:
        raise ReleaseMissing(
            f"the package index names no release of Airflow {asked}",
            hint='name it in full in devenv.toml: [airflow] version = "2.10.5"',
        )
    return str(found["version"])


def packages_until(release: str, environment: Environment) -> datetime | None:
    """The moment up to which packages fit a release: a day after it was published; None where the index does not tell.

    Args:
        release: in full.
        environment: for the cache folder, and the variables that uv gets.

    Raises:
        ReleaseMissing: the index has other releases of this series, and not this one.
    """
    kept = environment.cache_folder / _KEPT
    known = _read(kept)
    if release not in known:
        uploaded = _uploaded(_ask(f"{PACKAGE}=={release}", environment, _python_for(release)))
        if uploaded is None:
            _require_unasked(release, environment)
            return None
        with suppress(OSError), exclusive(kept.with_suffix(".lock")):
            write_whole(kept, json.dumps({**_read(kept), release: uploaded.isoformat()}))
        known = {release: uploaded.isoformat()}
    with suppress(ValueError):
        return datetime.fromisoformat(known[release]) + _AFTER
    return None


def _require_unasked(release: str, environment: Environment) -> None:
    """Tells a release that does not exist from an index that cannot be asked.

    Raises:
        ReleaseMissing: the index answers, without this release.
    """
    series = ".".join(release.split(".")[:2])
    for asked, what in ((series, f"the newest {series}"), (LATEST, "the newest release")):
        try:
            near = newest(asked, environment)
        except ReleaseMissing:
            continue
        hint = f"devenv up --airflow-version {near}"
        raise ReleaseMissing(f"there is no Airflow {release}; {what} is {near}", hint=hint)


def _python_for(version: str) -> str:
    """A Python to ask uv for: all releases so far run on 3.11, and the newest may one day not, but will on 3.12."""
    return "3.11" if version != LATEST else "3.12"


def _ask(requirement: str, environment: Environment, python: str) -> Mapping[str, Any] | None:
    """What the index has for a requirement: its package in uv's lock; None when there is none, or no answer."""
    command = [uv(), "pip", "compile", "--no-deps", "--quiet", "--no-header", "--no-python-downloads"]
    command += ["--format", "pylock.toml", "--python-version", python, "-"]
    try:
        done = process.run(command, stdin=requirement, timeout=_SECONDS, variables=uv_variables(environment))
        packages = tomllib.loads(done.stdout).get("packages", [])
    except (CommandFailed, DevenvError, ValueError):
        return None
    return next((package for package in packages if package.get("name") == PACKAGE), None)


def _uploaded(package: Mapping[str, Any] | None) -> datetime | None:
    """When the last of its files was uploaded; None where the index does not say."""
    if package is None:
        return None
    files = [*package.get("wheels", ()), package.get("sdist") or {}]
    moments = [each["upload-time"] for each in files if isinstance(each.get("upload-time"), datetime)]
    return max(moments).astimezone(timezone.utc) if moments else None


def _read(kept: Path) -> dict[str, str]:
    with suppress(OSError, ValueError, RecursionError):
        content = json.loads(read_regular(kept, _KEPT_LIMIT) or b"")
        if isinstance(content, dict):
            return {str(name): str(text) for name, text in content.items()}
    return {}
