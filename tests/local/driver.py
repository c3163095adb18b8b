"""`devenv up` of a local environment as a process of its own, for the tests that kill it.

    python driver.py FOLDER watch|detach

Prints each step that begins; the environment variables say where cache and data are.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from devenv.boot.runner import run_steps
from devenv.environment import Environment
from devenv.events import Event, StepStarted, WatchStarted
from devenv.local.backend import LocalBackend
from devenv.project import Project
from devenv.settings.schema import PortSettings, Settings
from devenv.watching import watch


def report(event: Event) -> None:
    """One line per step, written at once: steps begin side by side, and `print` writes the end of a line by itself."""
    if isinstance(event, StepStarted):
        os.write(1, f"{event.name}\n".encode())
    elif isinstance(event, WatchStarted):
        os.write(1, b"watching\n")


def main(folder: str, what: str) -> int:
    """Boots, and watches until Ctrl-C."""
    settings = Settings(ports=PortSettings(airflow=18080, vault=18200))
    project = Project(Path(folder), settings, Environment())
    backend = LocalBackend(project, "a test", report)
    try:
        run_steps(backend.up_steps(), report)
        if what == "watch":
            watch(project, backend, report, None)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
