"""`devenv airflow`."""

from __future__ import annotations

from typing import Annotated

import typer

from devenv.cli.attached import run_inside
from devenv.cli.context import backend_from, project_from

CONTEXT = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}
"""Every flag is Airflow's, `--help` too."""


def command(
    *,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="…", help="What stands after `airflow`.")] = None,
) -> int:
    """Runs an Airflow command in the scheduler's place and ends with its exit code.

    Examples:
      devenv airflow connections list
    """
    return run_inside(backend_from(project_from()), "scheduler", ["airflow", *(arguments or [])])
