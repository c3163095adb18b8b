"""The environment variables that DAG files and tasks get: those of `.env`, and `[environment]` over them."""

from __future__ import annotations

import io
import re

from devenv.files import read_regular
from devenv.project import Project

_LIMIT = 262_144
_RESERVED = re.compile(
    r"(AIRFLOW_(HOME|CONFIG|UID|GID|PROJ_DIR|IMAGE_NAME)|_AIRFLOW_\w+|_PIP_\w+|PATH|PYTHON\w*|LD_\w+|HOME|DEVENV_\w+|VAULT_\w+"
    r"|AIRFLOW__(DATABASE|SECRETS|CELERY|CELERY_BROKER\w*|KUBERNETES|KUBERNETES_EXECUTOR|API|WEBSERVER|LOGGING)__\w+"
    r"|AIRFLOW__CORE__(EXECUTOR|DAGS_FOLDER|PLUGINS_FOLDER|FERNET_KEY\w*|SQL_ALCHEMY_\w+|EXECUTION_API_SERVER_URL"
    r"|INTERNAL_API_\w+|AUTH_MANAGER|LOAD_EXAMPLES))"
)
"""What devenv itself decides: a `.env` for compose sets such things for containers of its own."""


def variables(project: Project) -> dict[str, str]:
    """Name → value, for parsing, tasks and `devenv check` alike."""
    given = {name: value for name, value in _file(project).items() if not _RESERVED.fullmatch(name)}
    return {**given, **project.settings.environment}


def left_out(project: Project) -> list[str]:
    """Names in `.env` that are not passed on, since devenv decides about them."""
    return sorted(name for name in _file(project) if _RESERVED.fullmatch(name))


def _file(project: Project) -> dict[str, str]:
    from dotenv import dotenv_values

    try:
        content = read_regular(project.folder / project.settings.env_file, _LIMIT)
    except OSError:
        return {}
    if content is None:
        return {}
    values = dotenv_values(stream=io.StringIO(content.decode("utf-8", "replace")), interpolate=False)
    return {name: value for name, value in values.items() if value is not None and "\0" not in value}
