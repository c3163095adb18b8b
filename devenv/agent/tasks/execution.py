"""One run of a DAG, or of some of its tasks, in this process: what the scheduler and its executor do, without them.

The loop is that of `DAG.test` of each release (`airflow.models.dag` in 2.x, `airflow.sdk.definitions.dag` in 3.x); what
differs between the releases is in `airflow_2` and `airflow_3`. A task is tried once, whatever its `retries` say.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Set, Tuple

from devenv.agent.tasks.driver import Driver, is_mapped, state_of
from devenv.agent.tasks.outcome import Events, Refusal
from devenv.agent.tasks.private_database import PrivateDatabase
from devenv.agent.tasks.request import Request

_FAILED = ("failed", "upstream_failed")


Explain = Callable[[BaseException], Dict[str, Any]]
"""From an exception to a problem (`devenv.agent.problems`)."""


def execute(
    driver: Driver, dag: Any, request: Request, database: PrivateDatabase, *, events: Events, explain: Explain
) -> bool:
    """Runs what was asked for; False when a task failed.

    Args:
        driver: of the release.
        dag: as its file makes it.
        request: what to run.
        database: of this run.
        events: where to say what happens.
        explain: from an exception to a problem.

    Raises:
        Refusal: it cannot begin.
    """
    if request.task_id and request.task_id not in dag.task_dict:
        raise Refusal("task", f"the DAG {dag.dag_id!r} has no task {request.task_id!r}", tasks=sorted(dag.task_dict))
    for task in dag.task_dict.values():
        _once(task)
    database.copy_runs(sorted(_awaited(dag)))
    alone = bool(request.task_id) and not request.from_start
    existing = database.copy_run(dag.dag_id, request.run_id) if alone and (request.run_id or not request.date) else ""
    if request.run_id and not existing:
        raise Refusal("run", f"the DAG {dag.dag_id!r} has no run {request.run_id!r}")
    run_id = driver.open(dag, request, existing)
    bare = alone and not existing and bool(dag.task_dict[request.task_id].upstream_task_ids)
    events.send("run", run_id=run_id, existing=bool(existing), bare=bare)
    runner = _Runner(driver, dag, events, explain)
    if alone:
        runner.one(request.task_id, request.map_index)
    else:
        wanted = set(dag.task_dict)
        if request.task_id:
            task = dag.task_dict[request.task_id]
            wanted = {request.task_id, *task.get_flat_relative_ids(upstream=True)}
        runner.all(wanted)
    return not runner.failed


class _Runner:
    """The loop, and what became of each task."""

    def __init__(self, driver: Driver, dag: Any, events: Events, explain: Explain) -> None:
        self._driver = driver
        self._dag = dag
        self._events = events
        self._explain = explain
        self._done: Set[Tuple[str, int]] = set()
        self.failed = False

    def one(self, task_id: str, map_index: int) -> None:
        """Runs one task as if all that comes before it had succeeded."""
        self._driver.settle(task_id)
        self._driver.schedulable()  # expands a mapped task
        for instance in instances_of(self._driver, self._dag, task_id, map_index):
            self._run_one(instance)

    def all(self, wanted: Set[str]) -> None:
        """Runs these tasks in their order, until none of them can run any more."""
        while self._driver.state() == "running":
            ready = [
                each
                for each in self._driver.schedulable()
                if each.task_id in wanted and (each.task_id, each.map_index) not in self._done
            ]
            if not ready:
                break
            for instance in ready:
                self._run_one(instance)
        self._leave_out(wanted)

    def _run_one(self, instance: Any) -> None:
        task = self._dag.task_dict[instance.task_id]
        self._done.add((instance.task_id, instance.map_index))
        self._events.send("started", task_id=instance.task_id, map_index=instance.map_index)
        began = time.monotonic()
        ended = self._driver.run(instance, task)
        self.failed = self.failed or ended.state in _FAILED
        self._events.send(
            "finished",
            task_id=instance.task_id,
            map_index=instance.map_index,
            state=ended.state,
            seconds=round(time.monotonic() - began, 3),
            xcoms=self._driver.pushed(instance) if ended.state == "success" else {},
            problem=self._explain(ended.error) if ended.error is not None and ended.state in _FAILED else None,
        )

    def _leave_out(self, wanted: Set[str]) -> None:
        """Says of the tasks that did not run why, and notes those that fail for another's sake."""
        for instance in self._driver.instances():
            if instance.task_id in wanted and (instance.task_id, instance.map_index) not in self._done:
                state = state_of(instance) or "not run"
                self.failed = self.failed or state in _FAILED
                self._events.send("left_out", task_id=instance.task_id, map_index=instance.map_index, state=state)


def instances_of(driver: Driver, dag: Any, task_id: str, map_index: int) -> List[Any]:
    """The instances of one task, expanded; all of a mapped one, or the one of an index.

    Raises:
        Refusal: there is no such index, or what the task maps over is not known.
    """
    found = [each for each in driver.instances() if each.task_id == task_id]
    wanted = [each for each in found if map_index < 0 or each.map_index == map_index]
    if not wanted or (is_mapped(dag.task_dict[task_id]) and wanted[0].map_index < 0):
        count = len([each for each in found if each.map_index >= 0])
        raise Refusal(
            "map-index",
            f"{task_id} is a mapped task"
            + (f" with indexes 0 to {count - 1}" if count else ", and what it maps over is not known"),
        )
    return sorted(wanted, key=lambda each: int(each.map_index))


def _once(task: Any) -> None:
    """A test is not retried: a mapped task has its arguments in a dictionary."""
    arguments = getattr(task, "partial_kwargs", None)
    if isinstance(arguments, dict):
        arguments["retries"] = 0
    else:
        task.retries = 0


def _awaited(dag: Any) -> Set[str]:
    """The DAGs that sensors of this one wait for."""
    named = (getattr(task, "external_dag_id", None) for task in dag.task_dict.values())
    return {dag_id for dag_id in named if isinstance(dag_id, str)}
