"""`devenv down`."""

from __future__ import annotations

from devenv.cli.context import backend_from, console, project_from
from devenv.events import Notice


def command() -> None:
    """Stops the environment and keeps its data.

    `devenv up` brings it back with its DAGs, runs, connections and secrets.

    Examples:
      devenv down
      devenv down --project ~/src/shop-dags
    """
    from devenv.boot.runner import run_steps

    project = project_from()
    backend = backend_from(project, needs_running=False)
    run_steps(backend.down_steps(), console().report)
    console().report(Notice("info", "stopped; the data is kept", "devenv up"))
