"""A helper of two DAG files: reads the env files that an init container has written from Vault.

An edit of a helper makes devenv, and the scheduler, parse the DAG files again that import it.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path


def read_env(name: str) -> dict[str, str]:
    """The keys and values of an env file in the folder that DEVENV_SECRETS_FOLDER names; none if it is not there."""
    file = Path(os.environ.get("DEVENV_SECRETS_FOLDER", "/etc/airflow")) / name
    if not file.is_file():
        return {}
    words = shlex.split(file.read_text(encoding="utf-8"), comments=True)
    return dict(word.split("=", 1) for word in words if "=" in word)
