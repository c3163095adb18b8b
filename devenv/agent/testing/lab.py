"""Runs single tasks for tests: in this process, with a throwaway database, one API for Airflow 2.7 to 3.x."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import shutil
import tempfile
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union
from unittest import mock

from devenv.agent.parse import Release, load_release
from devenv.agent.places import Places
from devenv.agent.tasks.driver import Driver, driver_for, empty_bag
from devenv.agent.tasks.execution import instances_of
from devenv.agent.tasks.log_output import route_structlog
from devenv.agent.tasks.private_database import PrivateDatabase, make_template
from devenv.agent.tasks.request import Request

RETURN_VALUE = "return_value"
XComs = Mapping[Union[str, Tuple[str, str]], Any]
"""What tasks before the one under test pushed: task id → its return value, or (task id, key) → the value."""


class TaskResult(NamedTuple):
    """How a task ended.

    Attributes:
        state: Airflow's: `success`, `failed`, `skipped`, `up_for_reschedule` …
        return_value: what it returned; None where it pushed none.
        xcoms: all that it pushed, key → value.
        log: what it logged and printed.
        error: the exception that made it fail; None otherwise.
    """

    state: str
    return_value: Any
    xcoms: Dict[str, Any]
    log: str
    error: Optional[BaseException]


class Lab:
    """The DAGs of a folder, and what runs their tasks.

    Args:
        dag_folder: Airflow's.
    """

    def __init__(self, dag_folder: str) -> None:
        self.dag_folder = os.path.abspath(dag_folder)
        self._release: Optional[Release] = None
        self._bag: Any = None
        self._folder = ""
        self._private: Optional[PrivateDatabase] = None

    @property
    def release(self) -> Release:
        """The Airflow that is installed here, imported when it is first asked for."""
        if self._release is None:
            self._release = load_release(Places({"dags": self.dag_folder}))
            route_structlog()
        return self._release

    @property
    def bag(self) -> Any:
        """All DAG files, parsed once."""
        if self._bag is None:
            self._bag = self.release.dag_bag(self.dag_folder, **self.release.options)
        return self._bag

    def dag(self, dag_id: str) -> Any:
        """A DAG.

        Raises:
            LookupError: no file makes it; the message has what there is, and the files that do not parse.
        """
        if dag_id in self.bag.dags:
            return self.bag.dags[dag_id]
        broken = "".join(f"\n{file}: {text}" for file, text in sorted(self.bag.import_errors.items()))
        raise LookupError(f"no DAG file makes {dag_id!r}; there are {sorted(self.bag.dags)}{broken}")

    def run(
        self,
        dag: Any,
        task: str,
        *,
        xcoms: Optional[XComs] = None,
        params: Optional[Mapping[str, Any]] = None,
        connections: Optional[Mapping[str, Any]] = None,
        variables: Optional[Mapping[str, Any]] = None,
        map_index: int = -1,
        date: str = "",
    ) -> TaskResult:
        """Runs a task once, as if what comes before it had succeeded.

        Args:
            dag: a DAG, or its id.
            task: its id.
            xcoms: what the tasks before it pushed.
            params: of the run, over those of the DAG.
            connections: id → URI, or a dictionary as in Airflow's JSON.
            variables: key → value; what is no text is encoded as JSON.
            map_index: which one of a mapped task; -1 where there is only one.
            date: the logical date, ISO 8601; "" for now.
        """
        found = self.dag(dag) if isinstance(dag, str) else dag
        if task not in found.task_dict:
            raise LookupError(f"the DAG {found.dag_id!r} has no task {task!r}; there are {sorted(found.task_dict)}")
        bag = empty_bag(self.release)
        bag.dags = {found.dag_id: found}
        with self._database(), mock.patch.dict(os.environ, _variables(connections or {}, variables or {})):
            driver = driver_for(self.release, bag)
            try:
                conf = dict(params) if params is not None else None
                run_id = driver.open(found, Request(found.dag_id, task, conf=conf, date=date), "")
                driver.settle(task)
                for (task_id, key), value in _pushed(xcoms or {}):
                    driver.push(found, run_id, task_id, key, value)
                return self._run(driver, found, task, map_index)
            finally:
                driver.close()

    def render(self, dag: Any, task: str, **arguments: Any) -> Dict[str, Any]:
        """The template fields of a task as its `execute` would have them; it is not executed.

        Args:
            dag: a DAG, or its id.
            task: its id.
            arguments: as for `run`.
        """
        found = self.dag(dag) if isinstance(dag, str) else dag
        rendered: Dict[str, Any] = {}

        def keep(context: Mapping[str, Any]) -> None:
            there = context["task"]
            rendered.update({name: getattr(there, name, None) for name in there.template_fields})
            raise _skip_exception()("rendered")

        target = found.task_dict[task]
        mapped = getattr(target, "partial_kwargs", None)
        if isinstance(mapped, dict):
            with mock.patch.dict(mapped, {"pre_execute": keep}):
                result = self.run(found, task, **arguments)
        else:
            with mock.patch.object(target, "_pre_execute_hook", keep):
                result = self.run(found, task, **arguments)
        if not rendered and result.error is not None:
            raise result.error
        return rendered

    def close(self) -> None:
        """Removes the databases."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, driver: Driver, dag: Any, task: str, map_index: int) -> TaskResult:
        driver.schedulable()  # expands a mapped task
        (instance,) = instances_of(driver, dag, task, map_index)[:1]
        log = io.StringIO()
        with _logged_to(log), contextlib.redirect_stdout(log):
            ended = driver.run(instance, dag.task_dict[task])
        xcoms = dict(driver.xcoms(instance))
        return TaskResult(ended.state, xcoms.get(RETURN_VALUE), xcoms, log.getvalue(), ended.error)

    @contextlib.contextmanager
    def _database(self) -> Iterator[None]:
        """A database with the release's tables, for one run; empty again afterwards."""
        if self._private is None:
            self._folder = tempfile.mkdtemp(prefix="devenv-pytest-")
            template = os.path.join(self._folder, "template.db")
            make_template(template)
            self._private = PrivateDatabase(template, os.path.join(self._folder, "runs.db"), "")
        try:
            yield
        finally:
            self._private.empty()


def _skip_exception() -> Any:
    """The exception by which a task skips itself; where it lives differs between releases."""
    try:
        return importlib.import_module("airflow.sdk.exceptions").AirflowSkipException
    except (ImportError, AttributeError):
        return importlib.import_module("airflow.exceptions").AirflowSkipException


def _pushed(xcoms: XComs) -> List[Tuple[Tuple[str, str], Any]]:
    return [((name, RETURN_VALUE) if isinstance(name, str) else name, value) for name, value in xcoms.items()]


def _variables(connections: Mapping[str, Any], variables: Mapping[str, Any]) -> Dict[str, str]:
    """Connections and variables as Airflow reads them from the environment, before it asks anything else."""
    found = {f"AIRFLOW_CONN_{name.upper()}": value for name, value in connections.items()}
    found.update({f"AIRFLOW_VAR_{name.upper()}": value for name, value in variables.items()})
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}


@contextlib.contextmanager
def _logged_to(stream: io.StringIO) -> Iterator[None]:
    """Has all that is logged written to a stream, besides where it goes."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root = logging.getLogger()
    quiet = [
        logger
        for name in list(logging.root.manager.loggerDict)
        for logger in [logging.getLogger(name)]
        if not logger.propagate
    ]
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for logger in quiet:
        logger.propagate = True
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        for logger in quiet:
            logger.propagate = False
