"""`devenv psql`."""

from __future__ import annotations

from typing import Annotated

import typer

from devenv.cli.attached import run_inside
from devenv.cli.context import backend_from, project_from

CONTEXT = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
"""Every flag is psql's."""

# Beside the server, whose socket asks for no password; a backend that has none sets PGUSER and the like.
_PSQL = 'exec psql --username="${PGUSER:-airflow}" --dbname="${PGDATABASE:-airflow}" "$@"'


def command(
    *,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="…", help="What stands after `psql`.")] = None,
) -> int:
    """Opens the metadata database's prompt.

    Examples:
      devenv psql -c 'select count(*) from dag_run'
    """
    return run_inside(backend_from(project_from()), "postgres", ["sh", "-c", _PSQL, "psql", *(arguments or [])])
