"""The life of the process in which `devenv pytest` runs: pytest, with Airflow loaded, and no Vault and no database."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from typing import Any

from devenv.agent.tasks.life import Streams, Warm, finish
from devenv.agent.tasks.outcome import Events
from devenv.agent.tasks.private_database import PrivateDatabase
from devenv.agent.tasks.request import PytestRequest

_PLUGIN = "devenv.agent.testing.plugin"


def live(warm: Warm, request: PytestRequest, database: str, streams: Streams) -> None:
    """Runs pytest, and ends the process with its exit code.

    Args:
        warm: what is ready.
        request: where, and pytest's arguments.
        database: where this run's copy of the template goes, for code that asks for one outside of `run_task`.
        streams: to the laptop.
    """
    finish(Events(streams.result), lambda: _run(warm, request, database))


def _run(warm: Warm, request: PytestRequest, database: str) -> int:
    os.environ.update(request.variables)
    os.environ["DEVENV_DAG_FOLDER"] = request.folders[warm.places.dags]
    os.chdir(request.folder)
    here = {warm.places.folders[root]: folder for root, folder in request.folders.items()}
    sys.path[:] = [here.get(path, path) for path in sys.path]  # the project itself, not its copy
    sys.path.insert(0, request.folder)
    _find_pytest(warm.carried.folders["pytest"])
    _leave_vault_out()
    PrivateDatabase(warm.template, database, "")
    pytest: Any = importlib.import_module("pytest")
    return int(pytest.main(["-p", _PLUGIN, *request.arguments]))


def _find_pytest(carried: str) -> None:
    """Has the project's own pytest imported, where its requirements name one, or else the one that was carried here."""
    if importlib.util.find_spec("pytest") is not None:
        return
    sys.path.insert(0, carried)
    brought = {name.partition(".")[0] for name in os.listdir(carried)}
    for name in [name for name in sys.modules if name.partition(".")[0] in brought]:
        del sys.modules[name]  # an older pluggy of Airflow's, which goes on with what it has imported


def _leave_vault_out() -> None:
    """Connections and variables come from the test and from the environment, not from what Vault happens to hold."""
    from airflow import configuration

    for section, option in (("secrets", "backend"), ("workers", "secrets_backend")):
        os.environ.pop(f"AIRFLOW__{section.upper()}__{option.upper()}", None)
        with contextlib.suppress(Exception):
            configuration.conf.set(section, option, "")
    configuration.secrets_backend_list = configuration.initialize_secrets_backends()
