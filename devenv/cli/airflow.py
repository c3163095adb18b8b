"""`devenv airflow`."""

from __future__ import annotations

from typing import Annotated

import typer

from devenv.cli.attached import run_inside
from devenv.cli.context import backend_from, project_from
from devenv.sync.parse_again import leave_request

CONTEXT = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
"""Every flag is Airflow's, `--help` too."""
_READ_BY_FILES = ("variables", "connections", "pools", "roles")
"""What these commands change may be what a DAG file lacked, so a watch parses the files again."""


def command(
    *,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="…", help="What stands after `airflow`.")] = None,
) -> int:
    """Runs an Airflow command in the scheduler's place and ends with its exit code.

    Examples:
      devenv airflow connections list
    """
    project = project_from()
    words = arguments or []
    code = run_inside(backend_from(project), "scheduler", ["airflow", *words])
    if words and words[0] in _READ_BY_FILES:
        leave_request(project.state_folder)
    return code
