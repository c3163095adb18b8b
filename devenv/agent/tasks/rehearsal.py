"""What a test run would do for the first time in its own process, done before the fork with a throwaway DAG."""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import Any

from devenv.agent.parse import Release
from devenv.agent.tasks.driver import bag_of, driver_for
from devenv.agent.tasks.private_database import PrivateDatabase
from devenv.agent.tasks.request import Request

_DAG = """\
from datetime import datetime, timezone
try:
    from airflow.sdk import DAG
    from airflow.providers.standard.operators.python import PythonOperator
except ImportError:
    from airflow import DAG
    from airflow.operators.python import PythonOperator

with DAG("devenv_rehearsal", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=timezone.utc)):
    PythonOperator(task_id="only", python_callable=print)
"""


def rehearse(release: Release, template: str, folder: str) -> None:
    """Makes a run in a database that is thrown away: the statements of the ORM are compiled, and modules imported.

    Nothing that starts a thread happens here, since a fork would not have it. A release in which this fails is slower,
    no more.

    Args:
        release: the Airflow that is imported.
        template: the release's empty database.
        folder: for what is thrown away.
    """
    from airflow import settings

    database = os.path.join(folder, "rehearsal.db")
    with contextlib.suppress(Exception):
        _prepare_api(release)
    with contextlib.suppress(Exception):
        PrivateDatabase(template, database, "")
        _make_run(release, folder)
    with contextlib.suppress(Exception):
        settings.dispose_orm()
    with contextlib.suppress(OSError):
        os.unlink(database)


def _make_run(release: Release, folder: str) -> None:
    path = os.path.join(folder, "rehearsal_dag.py")
    with open(path, "w", encoding="utf-8") as stream:
        stream.write(_DAG)
    bag = bag_of(release, path)
    driver = driver_for(release, bag)
    driver.open(bag.dags["devenv_rehearsal"], Request("devenv_rehearsal"), "")
    for instance in driver.schedulable():
        driver.pushed(instance)
    driver.close()


def _prepare_api(release: Release) -> None:
    """Builds the execution API of Airflow 3, which a task run in one process speaks with: seconds of work."""
    if release.version < (3,):
        return
    supervisor: Any = importlib.import_module("airflow.sdk.execution_time.supervisor")
    api = supervisor.in_process_api_server().app
    if hasattr(api, "_cadwyn_initialize"):
        api._cadwyn_initialize()  # noqa: SLF001 (otherwise done at the first request)
