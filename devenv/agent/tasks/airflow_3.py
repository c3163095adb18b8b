"""Runs tasks with Airflow 3, as `airflow.sdk.definitions.dag.DAG.test` does."""

from __future__ import annotations

import importlib
import inspect
from datetime import datetime, timezone
from typing import Any, Dict, Iterable, List, Optional, Tuple

from devenv.agent.tasks.driver import Driver, Ended, of_instance, state_of
from devenv.agent.tasks.log_output import logged
from devenv.agent.tasks.request import Request

BUNDLE = "dags-folder"
"""The name of Airflow's own bundle for `[core] dags_folder`."""


class Airflow3(Driver):
    """See `Driver`."""

    def __init__(self, bag: Any) -> None:
        """Takes the DagBag that has the DAG's file alone."""
        from airflow import settings

        # The thread's session, as in `DAG.test`; Airflow closes it, so what it held is looked up again after each task.
        self.session = settings.Session()
        self._bag = bag
        self._number = 0
        self._dag: Any = None

    def open(self, dag: Any, request: Request, existing: str) -> str:
        """See `Driver`."""
        import pendulum
        from airflow.models.dagrun import DagRun
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunTriggeredByType, DagRunType

        self._store()
        scheduled = self._as_the_scheduler_has_it(dag)
        if existing:
            run = self.resumed(dag.dag_id, existing, request)
        else:
            now = pendulum.now("UTC")
            date = pendulum.parse(request.date) if request.date else now
            run = scheduled.create_dagrun(
                run_id=DagRun.generate_run_id(run_type=DagRunType.MANUAL, logical_date=date, run_after=date),
                logical_date=date,
                data_interval=_timetable(dag, scheduled).infer_manual_data_interval(run_after=date),
                run_after=date,
                run_type=DagRunType.MANUAL,
                state=DagRunState.RUNNING,
                start_date=now,
                conf=request.conf,
                triggered_by=DagRunTriggeredByType.TEST,
                session=self.session,
            )
        run.dag = scheduled
        if existing:
            run.verify_integrity(dag_version_id=self._version(dag.dag_id), session=self.session)
        self.session.commit()
        if hasattr(run, "start_dr_spans_if_needed"):  # 3.0 and 3.1 end spans that they expect to have been started
            run.start_dr_spans_if_needed(tis=[])
        self._number, self._dag = run.id, scheduled
        return str(run.run_id)

    def schedulable(self) -> List[Any]:
        """See `Driver`."""
        from airflow.utils.state import TaskInstanceState

        found, _callback = self.dag_run().update_state(session=self.session)
        for instance in found:
            if instance.state != TaskInstanceState.UP_FOR_RESCHEDULE:
                instance.try_number += 1
            instance.state = TaskInstanceState.SCHEDULED
            instance.scheduled_dttm = datetime.now(timezone.utc)
        self.session.commit()
        return [each for each in self.instances() if each.state == TaskInstanceState.SCHEDULED]

    def run(self, instance: Any, task: Any) -> Ended:
        """See `Driver`."""
        module: Any = importlib.import_module("airflow.sdk.definitions.dag")
        arguments: Dict[str, Any] = {"ti": instance, "run_triggerer": True}
        instance.task = task
        run_task = module._run_task  # noqa: SLF001 (what `DAG.test` calls)
        if "task" in inspect.signature(run_task).parameters:  # from 3.1 on
            arguments["task"] = task
        instance.try_number = max(1, instance.try_number)
        self.session.commit()
        logged.clear()
        kind, number = type(instance), instance.id
        for _ in range(100):  # 3.0 comes back where a deferred task is to go on
            result = run_task(**arguments)
            self.session.expire_all()
            instance = self.session.get(kind, number)
            if state_of(instance) != "scheduled":
                break
            arguments["ti"] = instance
            instance.task = task
        error: Optional[BaseException] = getattr(result, "error", None) or (logged[-1] if logged else None)
        state = state_of(instance)
        if state in ("queued", "running", "up_for_retry"):  # it died in Airflow's own hands
            state = "failed"
        return Ended(state, error)

    def set_xcom(self, key: str, value: Any, **place: Any) -> None:
        """See `Driver`; as the execution API stores what a task serialised."""
        from airflow.models.xcom import XComModel
        from airflow.sdk.bases.xcom import BaseXCom

        serialized = BaseXCom.serialize_value(value)
        XComModel.set(key=key, value=serialized, serialize=False, **place, session=self.session)

    def xcoms(self, instance: Any) -> Iterable[Tuple[str, Any]]:
        """See `Driver`."""
        from airflow.models.xcom import XComModel
        from sqlalchemy import select

        query = select(XComModel).where(*of_instance(XComModel, instance))
        return ((row.key, XComModel.deserialize_value(row)) for row in self.session.scalars(query))

    def dag_run(self) -> Any:
        """See `Driver`."""
        from airflow.models.dagrun import DagRun

        self.session.expire_all()
        run = self.session.get(DagRun, self._number)
        run.dag = self._dag
        return run

    def _store(self) -> None:
        """Writes the file's DAGs to the database as the dag-processor does."""
        for name in ("airflow.dag_processing.dagbag", "airflow.models.dagbag"):
            try:
                module: Any = importlib.import_module(name)
            except ModuleNotFoundError:
                continue
            if hasattr(module, "sync_bag_to_db"):  # from 3.1 on
                module.sync_bag_to_db(self._bag, BUNDLE, None, session=self.session)
                break
        else:
            self._bag.sync_to_db(BUNDLE, None, session=self.session)
        self.session.commit()

    def _version(self, dag_id: str) -> Any:
        from airflow.models.dag_version import DagVersion

        version = DagVersion.get_latest_version(dag_id, session=self.session)
        return version.id

    @staticmethod
    def _as_the_scheduler_has_it(dag: Any) -> Any:
        """The DAG serialised and read back; it gets the callbacks, which do not survive that."""
        module: Any = importlib.import_module("airflow.serialization.serialized_objects")
        serializer = getattr(module, "DagSerialization", None) or module.SerializedDAG
        scheduled = serializer.deserialize_dag(serializer.serialize_dag(dag))
        scheduled.on_success_callback = dag.on_success_callback
        scheduled.on_failure_callback = dag.on_failure_callback
        return scheduled


def _timetable(dag: Any, scheduled: Any) -> Any:
    """A timetable that computes: in the SDK of 3.2 and later, a DAG's own only describes."""
    return scheduled.timetable if hasattr(scheduled.timetable, "infer_manual_data_interval") else dag.timetable
