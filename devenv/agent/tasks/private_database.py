"""The metadata database of one test run: SQLite with the release's own tables, and what it needs of the real one.

A test run in the real database would be seen by the scheduler, which starts the run's tasks as well, and would have to
be removed afterwards. Here nothing is left behind, whatever ends the process.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
from datetime import datetime, timezone
from typing import Any, Dict, Iterator, List, Sequence

_COPIED = ("connection", "variable", "slot_pool", "dag", "asset_active", "dataset", "asset")
"""Whole tables; they are small, and tasks may ask for what is in them."""
_FIRST_ROWS: Dict[str, Dict[str, Any]] = {
    "log_template": {
        "filename": "{{ ti.task_id }}.log",
        "elasticsearch_id": "",
        "created_at": datetime.now(timezone.utc),
    },
    "dag_bundle": {"name": "dags-folder", "active": True},
}
"""What a run refers to: how logs are called, and (from 3.0 on) Airflow's own bundle for `[core] dags_folder`."""
_ROWS_LIMIT = 5_000
_CONNECT_SECONDS = 2


def make_template(path: str) -> None:
    """Makes the empty database of this release, which each run gets a copy of."""
    from airflow import models
    from sqlalchemy import create_engine

    for name in ("airflow.auth.managers.fab.models", "airflow.providers.fab.auth_manager.models"):
        with contextlib.suppress(Exception):  # tables that others refer to, where the release has them
            importlib.import_module(name)
    models.import_all_models()
    base = importlib.import_module("airflow.models.base").Base
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    engine = create_engine(f"sqlite:///{path}")
    base.metadata.create_all(engine)
    with engine.begin() as connection:
        for name, values in _FIRST_ROWS.items():
            if name in base.metadata.tables:
                connection.execute(base.metadata.tables[name].insert().values(**values))
    engine.dispose()


class PrivateDatabase:
    """The database of one run, in place of the configured one for this process."""

    def __init__(self, template: str, path: str, configured: str) -> None:
        """Copies the template, and makes Airflow use the copy.

        Args:
            template: of `make_template`.
            path: where the copy goes.
            configured: the URL of the real database; nothing is connected before it is asked.
        """
        from airflow import settings
        from airflow.configuration import conf

        self._real_url = configured
        shutil.copyfile(template, path)
        url = f"sqlite:///{path}"
        settings.dispose_orm()
        for section in ("database", "core"):
            with contextlib.suppress(Exception):
                conf.set(section, "sql_alchemy_conn", url)
        settings.SQL_ALCHEMY_CONN = url
        if hasattr(settings, "SQL_ALCHEMY_CONN_ASYNC"):
            settings.SQL_ALCHEMY_CONN_ASYNC = f"sqlite+aiosqlite:///{path}"
        settings.configure_orm()

    def empty(self) -> None:
        """Makes it as the template is, for another run in this process; what SQLAlchemy has compiled stays."""
        from airflow import settings

        tables = importlib.import_module("airflow.models.base").Base.metadata.tables
        with settings.engine.begin() as ours:
            ours.exec_driver_sql("PRAGMA foreign_keys=OFF")
            for name, table in tables.items():
                if name not in _FIRST_ROWS:
                    ours.execute(table.delete())

    def copy(self) -> None:
        """Takes over the connections, variables and pools that are kept in the database, where it can be reached."""
        with self._real() as real:
            for name in _COPIED:
                _copy(real, name, {})

    def copy_runs(self, dag_ids: Sequence[str]) -> None:
        """Takes over the runs of other DAGs and their tasks' states, for a sensor that waits for them."""
        if not dag_ids:
            return
        with self._real() as real:
            for dag_id in dag_ids:
                for name in ("dag_run", "task_instance"):
                    _copy(real, name, {"dag_id": dag_id})

    def copy_run(self, dag_id: str, run_id: str) -> str:
        """Takes over a run and what its tasks pushed, and returns its id; "" when there is no such run.

        Args:
            dag_id: the run's DAG.
            run_id: the run; "" for the latest.
        """
        from sqlalchemy import select

        with self._real() as real:
            runs = _table("dag_run")
            query = select(runs.c.run_id).where(runs.c.dag_id == dag_id)
            query = query.where(runs.c.run_id == run_id) if run_id else query.order_by(runs.c.id.desc()).limit(1)
            found = [str(row["run_id"]) for row in _rows(real, query)]
            for each in found:
                for name in ("dag_run", "xcom", "task_map"):
                    _copy(real, name, {"dag_id": dag_id, "run_id": each})
            return "".join(found)

    @contextlib.contextmanager
    def _real(self) -> Iterator[Any]:
        """A connection to the configured database; the body is not left early where it is out of reach."""
        from sqlalchemy import create_engine

        if "://" not in self._real_url:
            yield _Nothing()
            return
        arguments = {"connect_timeout": _CONNECT_SECONDS} if self._real_url.startswith("postgres") else {}
        engine = create_engine(self._real_url, connect_args=arguments)
        try:
            connection = engine.connect()
        except Exception:  # a task of Airflow 3 may have none: what is in Vault is there all the same
            self._real_url = ""  # so that a run waits for it once
            yield _Nothing()
        else:
            with connection:
                yield connection
        finally:
            engine.dispose()


class _Nothing:
    """A database that cannot be reached has no rows."""

    def execute(self, _query: Any) -> _Nothing:
        return self

    def mappings(self) -> List[Dict[str, Any]]:
        return []


def _table(name: str) -> Any:
    return importlib.import_module("airflow.models.base").Base.metadata.tables[name]


def _rows(real: Any, query: Any) -> List[Dict[str, Any]]:
    from sqlalchemy.exc import DBAPIError

    try:
        return [dict(row) for row in real.execute(query).mappings()]
    except DBAPIError:  # a database that was never migrated: it has nothing to copy
        return []


def _copy(real: Any, name: str, where: Dict[str, str]) -> None:
    from airflow import settings
    from sqlalchemy import select

    tables = importlib.import_module("airflow.models.base").Base.metadata.tables
    if name not in tables:
        return
    table = tables[name]
    query = select(table).limit(_ROWS_LIMIT)
    for column, value in where.items():
        query = query.where(table.c[column] == value)
    rows = _rows(real, query)
    if rows:
        with settings.engine.begin() as ours:
            ours.exec_driver_sql("PRAGMA foreign_keys=OFF")
            ours.execute(table.insert(), rows)
