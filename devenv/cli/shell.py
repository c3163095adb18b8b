"""`devenv shell`."""

from __future__ import annotations

from typing import Annotated

import typer

from devenv.cli.attached import run_inside
from devenv.cli.context import backend_from, project_from


def command(
    *,
    component: Annotated[str, typer.Argument(metavar="COMPONENT", help="Where.")] = "scheduler",
) -> int:
    """Opens a shell inside a component, with its environment.

    Examples:
      devenv shell postgres
    """
    backend = backend_from(project_from())
    return run_inside(
        backend, component, ["sh", "-c", "if command -v bash >/dev/null; then exec bash; else exec sh; fi"]
    )
