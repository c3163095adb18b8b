"""Environment variables that an origin sets: which of them DAGs can have, and what `${NAME:-default}` stands for."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from devenv.files import read_regular
from devenv.origins.found import Found, NotTaken

_LIMIT = 262_144
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = re.compile(
    r"(AIRFLOW_(HOME|CONFIG|UID|GID|PROJ_DIR|IMAGE_NAME)|_AIRFLOW_\w+|_PIP_\w+|DUMB_INIT_\w+|CONNECTION_CHECK_\w+|PATH|PYTHON\w*|LD_\w+|HOME|DEVENV_\w+|VAULT_\w+"
    r"|AIRFLOW__(DATABASE|SECRETS|CELERY|CELERY_BROKER\w*|KUBERNETES|KUBERNETES_EXECUTOR|API|WEBSERVER|LOGGING)__\w+"
    r"|AIRFLOW__CORE__(EXECUTOR|DAGS_FOLDER|PLUGINS_FOLDER|FERNET_KEY\w*|SQL_ALCHEMY_\w+|EXECUTION_API_SERVER_URL"
    r"|INTERNAL_API_\w+|AUTH_MANAGER|LOAD_EXAMPLES))"
)
"""What devenv itself decides: a compose file or an image sets such things for containers of its own."""
_OF_ITS_PLATFORM = re.compile(
    r"AIRFLOW__(SCHEDULER|DAG_PROCESSOR|TRIGGERER|METRICS|TRACES|API_AUTH|EXECUTION_API|FAB|SENTRY"
    r"|CELERY_KUBERNETES_EXECUTOR|LOCAL_KUBERNETES_EXECUTOR)__\w+"
)
"""How the platform that an origin describes is run: it is not the one that devenv makes. A `.env` may still set it."""
_REFERENCE = re.compile(r"\$(?:\{(?P<braced>\w+)(?::?(?P<how>[-?+])(?P<default>[^}]*))?\}|(?P<bare>[A-Za-z_]\w*))")
EXECUTOR = "AIRFLOW__CORE__EXECUTOR"


def is_devenvs(name: str) -> bool:
    """Whether devenv itself decides about this variable."""
    return _RESERVED.fullmatch(name) is not None


def is_taken(name: str) -> bool:
    """Whether an origin's variable is for DAGs, not for the platform that the origin describes."""
    return not is_devenvs(name) and _OF_ITS_PLATFORM.fullmatch(name) is None


def read_env_file(path: Path) -> dict[str, str]:
    """Name → value of an env file, as written; empty where it cannot be read."""
    from dotenv import dotenv_values

    try:
        content = read_regular(path, _LIMIT)
    except OSError:
        return {}
    if content is None:
        return {}
    values = dotenv_values(stream=io.StringIO(content.decode("utf-8", "replace")), interpolate=False)
    return {name: value for name, value in values.items() if value is not None and "\0" not in value}


def interpolated(text: str, values: Mapping[str, str]) -> str | None:
    """The text with `$NAME`, `${NAME}` and `${NAME:-default}` replaced; None where a value is missing.

    Args:
        text: as a compose file or a Dockerfile has it; `$$` is a dollar sign.
        values: name → value.
    """
    missing = False

    def one(match: re.Match[str]) -> str:
        nonlocal missing
        value = values.get(match["braced"] or match["bare"])
        if value:
            return value
        if match["how"] == "-":
            return interpolated(match["default"], values) or ""
        missing = True
        return ""

    done = "$".join(_REFERENCE.sub(one, part) for part in text.split("$$"))
    return None if missing else done


def taken(given: Mapping[str, str | None], source: str, *, below_env_file: bool) -> Iterator[Found | NotTaken]:
    """The variables that DAGs get, of those that a file sets.

    Args:
        given: name → value; None where it is not known what it would be.
        source: the file.
        below_env_file: see `Found`.
    """
    unknown = []
    for name, value in given.items():
        if not is_taken(name) or not _NAME.fullmatch(name) or (value and "\0" in value):
            continue
        if value is None:
            unknown.append(name)
        else:
            yield Found(("environment", name), value, source, below_env_file)
    if unknown:
        yield NotTaken(f"the variables {', '.join(sorted(unknown))}", source, "set them in .env")
    executor = given.get(EXECUTOR)
    if executor and executor not in ("KubernetesExecutor", "LocalExecutor"):
        yield NotTaken(executor, source, f"devenv up --executor {executor}   where you need this one")
