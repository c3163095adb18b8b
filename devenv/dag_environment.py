"""The environment variables that DAG files and tasks get: those of `.env`, and `[environment]` over them."""

from __future__ import annotations

from devenv.origins.variables import is_devenvs, read_env_file
from devenv.project import Project


def variables(project: Project) -> dict[str, str]:
    """Name → value, for parsing, tasks and `devenv check` alike."""
    given = {name: value for name, value in _file(project).items() if not is_devenvs(name)}
    return {**given, **project.settings.environment}


def left_out(project: Project) -> list[str]:
    """Names in `.env` that are not passed on, since devenv decides about them."""
    return sorted(name for name in _file(project) if is_devenvs(name))


def _file(project: Project) -> dict[str, str]:
    return read_env_file(project.folder / project.settings.env_file)
