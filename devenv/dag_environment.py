"""The environment variables that DAG files and tasks get: those of `.env`, and `[environment]` over them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from devenv.errors import UsageError
from devenv.origins.variables import is_devenvs, read_env_file

if TYPE_CHECKING:
    from devenv.project import Project

_NAMED = re.compile(r"vault:(?P<path>[^#\s]+)#(?P<key>\S+)")


class NamedSecretMissing(UsageError):
    """A variable in `[environment]` names a secret that is not there.

    `"vault:team/reader#TOKEN"` stands for the key TOKEN at the path team/reader of the dev Vault, as
    `devenv secrets list` shows it; of a connection the key is `conn_uri`, of a variable `value`.
    """

    code = "DEVENV-615"


def variables(project: Project) -> dict[str, str]:
    """Name → value, for parsing, tasks and `devenv check` alike.

    Raises:
        NamedSecretMissing: one names a secret that is not there.
        SeedsInvalid, SeedsUnsafe, SeedCommandFailed: the secrets cannot be read.
    """
    given = {name: value for name, value in _file(project).items() if not is_devenvs(name)}
    return {**given, **project.settings.environment, **_from_vault(project)}


def left_out(project: Project) -> list[str]:
    """Names in `.env` that are not passed on, since devenv decides about them."""
    return sorted(name for name in _file(project) if is_devenvs(name))


def named_secrets(project: Project) -> Iterator[tuple[str, str, str]]:
    """Variable of `[environment]`, and the path and key in Vault that it names."""
    for name, value in project.settings.environment.items():
        match = _NAMED.fullmatch(value)
        if match is not None:
            yield name, match["path"], match["key"]


def _file(project: Project) -> dict[str, str]:
    return read_env_file(project.folder / project.settings.env_file)


def _from_vault(project: Project) -> dict[str, str]:
    """The values of secrets that are named; Vault need not run, since it is filled from the seeds."""
    named = list(named_secrets(project))
    if not named:
        return {}
    from devenv.vault import seeds

    known = seeds.load_or_create(project)
    found: dict[str, str] = {}
    at: dict[str, dict[str, str]] = {}
    for name, path, key in named:
        if path not in at:
            at[path] = seeds.secrets_at(project, known, path)
        if key not in at[path]:
            raise NamedSecretMissing(
                f"{name} in [environment] names vault:{path}#{key}, which is not among the secrets",
                hint=_command(path, key),
            )
        found[name] = at[path][key]
    return found


def _command(path: str, key: str) -> str:
    kind, _, name = path.partition("/")
    if kind in ("connections", "variables") and name:
        return f"devenv secrets set {kind[:-1]} {name}"
    return f"devenv secrets set {path} {key}"
