"""The admin user of Airflow's page.

In 2.x it lives in the database, where prepare_database.py keeps it. 3.x's simple auth manager reads users and passwords
from a file: run as a program, this writes that file, before the api-server starts.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from metadata_database import option


class AdminUser(NamedTuple):
    """Name and password."""

    name: str
    password: str


def admin_user() -> AdminUser | None:
    """Who is admin, from the env file `admin.env`; None where it was not fetched."""
    path = Path(os.environ["DEVENV_SECRETS_FOLDER"]) / "admin.env"
    if not path.is_file():
        return None
    pairs = (line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines() if "=" in line)
    values = {name.strip(): "".join(shlex.split(value)) for name, value in pairs}
    return AdminUser(values["AIRFLOW_ADMIN_USER"], values["AIRFLOW_ADMIN_PASSWORD"])


def write_passwords(path: Path, user: AdminUser) -> None:
    """Writes the simple auth manager's file, readable by its owner only. Airflow opens it for writing, too."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump({user.name: user.password}, file)
    temporary.replace(path)


if __name__ == "__main__":
    passwords_file = option("core", "simple_auth_manager_passwords_file")
    admin = admin_user()
    if not passwords_file or admin is None:
        sys.exit("no [core] simple_auth_manager_passwords_file is set, or admin.env was not fetched")
    write_passwords(Path(passwords_file), admin)
