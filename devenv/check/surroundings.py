"""What DAG files have around them in `devenv check`: Airflow's home, its options, and a database on demand."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from devenv import dag_environment, process
from devenv.origins.folders import python_path

if TYPE_CHECKING:
    from devenv.project import Project

_MIGRATE_SECONDS = 300.0


def furnish(home: Path, folders: Mapping[str, str]) -> None:
    """Makes an AIRFLOW_HOME in which the synced folders lie as in a pod: `$AIRFLOW_HOME/dags/config/x.json` is found.

    Args:
        home: an empty folder.
        folders: name of a synced root → its folder.
    """
    for name, folder in folders.items():
        with contextlib.suppress(OSError):
            (home / name).symlink_to(folder, target_is_directory=True)


def variables_of(project: Project, home: Path, folders: Mapping[str, str]) -> dict[str, str]:
    """The environment variables of a check: no examples, an empty database, the project's options.

    Args:
        project: its settings, and the variables that this command was started with.
        home: the AIRFLOW_HOME of the check.
        folders: name of a synced root → its folder.
    """
    inherited = {
        name: value
        for name, value in project.environment.variables.items()
        if not name.startswith("AIRFLOW__") and name not in ("AIRFLOW_HOME", "AIRFLOW_CONFIG", "PYTHONPATH")
    }
    options = {
        f"AIRFLOW__{section.upper()}__{key.upper()}": str(value)
        for section, keys in project.settings.airflow.config.items()
        for key, value in keys.items()
    }
    return {
        **inherited,
        **options,
        **dag_environment.variables(project),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": folders["dags"],
        "AIRFLOW__CORE__PLUGINS_FOLDER": folders.get("plugins", str(home / "plugins")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database(home)}",
        "PYTHONPATH": os.pathsep.join(python_path(project.folder, project.settings.sync, str(home))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def database(home: Path) -> Path:
    """The check's metadata database; empty until `give_database`."""
    return home / "airflow.db"


def give_database(home: Path, python: Path, release: str, variables: Mapping[str, str], cache: Path) -> bool:
    """Puts a migrated database into the check's home; False when Airflow could not make one.

    The release's empty database is kept in the cache, since a migration takes up to half a minute.

    Args:
        home: the AIRFLOW_HOME of the check.
        python: an interpreter with Airflow.
        release: which one that is.
        variables: of the check.
        cache: a folder of this user's.
    """
    template = cache / "check" / f"{release}.db"
    if not template.is_file():
        made = home / "template.db"
        done = process.run(
            [python, "-m", "airflow", "db", "migrate"],
            variables={**variables, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{made}"},
            cwd=home,
            check=False,
            timeout=_MIGRATE_SECONDS,
        )
        if done.returncode != 0:
            return False
        template.parent.mkdir(parents=True, exist_ok=True)
        partial = template.with_name(f".{template.name}.{os.getpid()}")
        shutil.copyfile(made, partial)
        partial.replace(template)
    shutil.copyfile(template, database(home))
    return True
