"""What running tasks needs of a release of Airflow; `airflow_2` and `airflow_3` fill in what differs."""

from __future__ import annotations

import abc
import os
import uuid
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

from devenv.agent.parse import Release
from devenv.agent.tasks.outcome import shown
from devenv.agent.tasks.request import Request


class Ended(NamedTuple):
    """How a task ended: its state, and the exception that made it fail."""

    state: str
    error: Optional[BaseException]


class Driver(abc.ABC):
    """Makes a run and runs its tasks one by one, as `DAG.test` of the release does."""

    session: Any
    """SQLAlchemy's."""

    @abc.abstractmethod
    def open(self, dag: Any, request: Request, existing: str) -> str:
        """Makes the run of a DAG, or takes the one that was copied, with all its task instances; returns its id.

        Args:
            dag: as its file makes it.
            request: what to run.
            existing: the id of a run that was copied; "" for none.
        """

    @abc.abstractmethod
    def dag_run(self) -> Any:
        """The run as it is now."""

    @abc.abstractmethod
    def schedulable(self) -> List[Any]:
        """The task instances that may run now, as the scheduler decides, mapped tasks expanded."""

    @abc.abstractmethod
    def run(self, instance: Any, task: Any) -> Ended:
        """Runs a task once, with its trigger where it defers."""

    @abc.abstractmethod
    def set_xcom(self, key: str, value: Any, **place: Any) -> None:
        """Stores an XCom.

        Args:
            key: of the XCom.
            value: what was pushed.
            place: `dag_id`, `run_id`, `task_id` and `map_index`.
        """

    @abc.abstractmethod
    def xcoms(self, instance: Any) -> Iterable[Tuple[str, Any]]:
        """The keys and values that a task instance pushed."""

    def instances(self) -> List[Any]:
        """All task instances of the run as they are now."""
        self.session.expire_all()
        return list(self.dag_run().get_task_instances(session=self.session))

    def settle(self, task_id: str) -> None:
        """Makes all other tasks of a run count as done."""
        from airflow.utils.state import TaskInstanceState

        for instance in self.instances():
            instance.state = None if instance.task_id == task_id else TaskInstanceState.SUCCESS
        self.session.commit()

    def push(self, dag: Any, run_id: str, task_id: str, key: str, value: Any) -> None:
        """Stores an XCom of a task, as if it had pushed it; a task that maps over it can be expanded.

        Args:
            dag: of the run.
            run_id: the run's id.
            task_id: whose it is; of a mapped task, `value` is a list with what each of its instances pushed.
            key: of the XCom.
            value: what it pushed.
        """
        place = {"dag_id": dag.dag_id, "task_id": task_id, "run_id": run_id}
        if is_mapped(dag.task_dict[task_id]):
            self._spread(task_id, len(value))
            for index, each in enumerate(value):
                self.set_xcom(key, each, **place, map_index=index)
        else:
            self.set_xcom(key, value, **place, map_index=-1)
            self._measure(place, value)
        self.session.commit()

    def _measure(self, place: Dict[str, str], value: Any) -> None:
        """Notes how long a value is, for a task that maps over it."""
        from airflow.models.taskmap import TaskMap

        if isinstance(value, (list, tuple, dict)):
            keys = list(value) if isinstance(value, dict) else None
            self.session.merge(TaskMap(**place, map_index=-1, length=len(value), keys=keys))

    def _spread(self, task_id: str, count: int) -> None:
        """Makes the one instance that a mapped task begins with so many."""
        (first, *more) = [each for each in self.instances() if each.task_id == task_id]
        if first.map_index >= 0 or more:
            return  # by the push of another key
        table = type(first).__table__
        values = {column.name: getattr(first, column.key) for column in type(first).__mapper__.columns}
        self.session.execute(table.delete().where(*of_instance(table.c, first)))
        for index in range(count):
            identity = {"id": uuid.uuid4()} if "id" in values else {}  # from 3.0 on
            self.session.execute(table.insert().values({**values, **identity, "map_index": index}))
        self.session.expire_all()

    def pushed(self, instance: Any) -> Dict[str, str]:
        """What a task instance pushed, to be shown."""
        return shown(self.xcoms(instance))

    def state(self) -> str:
        """The run's state."""
        return state_of(self.dag_run())

    def close(self) -> None:
        """Lets go of the database."""
        self.session.close()

    def resumed(self, dag_id: str, run_id: str, request: Request) -> Any:
        """The run that was copied, running again, with the configuration that was asked for."""
        from airflow.models.dagrun import DagRun
        from airflow.utils.state import DagRunState
        from sqlalchemy import select

        query = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        run = self.session.scalars(query).one()
        run.state = DagRunState.RUNNING
        if request.conf is not None:
            run.conf = request.conf
        return run


def is_mapped(task: Any) -> bool:
    """Whether a task has an instance for each item of what it maps over."""
    return hasattr(task, "partial_kwargs")


def state_of(row: Any) -> str:
    """The state of a run or of a task instance; "" for none."""
    return str(getattr(row.state, "value", row.state) or "")


def of_instance(model: Any, instance: Any) -> Tuple[Any, ...]:
    """The conditions by which a model's rows belong to a task instance."""
    return (
        model.dag_id == instance.dag_id,
        model.run_id == instance.run_id,
        model.task_id == instance.task_id,
        model.map_index == instance.map_index,
    )


def empty_bag(release: Release) -> Any:
    """A DagBag without any file."""
    return release.dag_bag(os.devnull, collect_dags=False, **release.options)


def bag_of(release: Release, path: str) -> Any:
    """The DagBag of one file alone."""
    bag = empty_bag(release)
    bag.process_file(path, only_if_updated=False, safe_mode=False)
    return bag


def driver_for(release: Release, bag: Any) -> Driver:
    """The driver of a release, for the DAGs of one file."""
    if release.version >= (3,):
        from devenv.agent.tasks.airflow_3 import Airflow3

        return Airflow3(bag)
    from devenv.agent.tasks.airflow_2 import Airflow2

    return Airflow2()
