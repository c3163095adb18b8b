"""Runs tasks with Airflow 2, as `airflow.models.dag.DAG.test` does."""

from __future__ import annotations

import asyncio
from typing import Any, Dict, List, Optional

from devenv.agent.tasks.execution import Ended, Request
from devenv.agent.tasks.outcome import shown


class Airflow2:
    """See `devenv.agent.tasks.execution.Driver`."""

    def __init__(self) -> None:
        from airflow import settings

        # Not the session of the thread, which Airflow closes under whoever else uses it.
        self._session = settings.Session.session_factory()
        self._run: Any = None

    def open(self, dag: Any, request: Request, existing: str) -> str:
        """See `Driver`."""
        from airflow.models.dag import DAG
        from airflow.models.dagrun import DagRun
        from airflow.utils import timezone
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunType
        from sqlalchemy import select

        DAG.bulk_write_to_db([dag], session=self._session)
        self._session.commit()
        if existing:
            query = select(DagRun).where(DagRun.dag_id == dag.dag_id, DagRun.run_id == existing)
            run = self._session.scalars(query).one()
            run.dag = dag
            run.state = DagRunState.RUNNING
            if request.conf is not None:
                run.conf = request.conf
            run.verify_integrity(session=self._session)
            self._session.commit()
            self._run = run
            return existing
        date = timezone.parse(request.date) if request.date else timezone.utcnow()
        run = dag.create_dagrun(
            state=DagRunState.RUNNING,
            execution_date=date,
            run_id=DagRun.generate_run_id(DagRunType.MANUAL, date),
            run_type=DagRunType.MANUAL,
            start_date=timezone.utcnow(),
            conf=request.conf,
            data_interval=dag.timetable.infer_manual_data_interval(run_after=date),
            external_trigger=True,
            session=self._session,
        )
        run.dag = dag
        self._session.commit()
        self._run = run
        return str(run.run_id)

    def schedulable(self) -> List[Any]:
        """See `Driver`."""
        found, _callback = self._run.update_state(session=self._session)
        self._session.commit()
        return list(found)

    def instances(self) -> List[Any]:
        """See `Driver`."""
        self._session.expire_all()
        return list(self._run.get_task_instances(session=self._session))

    def settle(self, task_id: str) -> None:
        """See `Driver`."""
        from airflow.utils.state import TaskInstanceState

        for instance in self.instances():
            instance.state = None if instance.task_id == task_id else TaskInstanceState.SUCCESS
        self._session.commit()

    def run(self, instance: Any, task: Any) -> Ended:
        """See `Driver`."""
        error: Optional[BaseException] = None
        instance.task = task
        while True:
            try:
                self._attempt(instance)
            except Exception as raised:
                error = raised
            self._session.commit()
            instance.refresh_from_db(session=self._session)
            if _state(instance) != "deferred":
                break
            error = self._run_trigger(instance)
            if error is not None:
                break
        state = "failed" if error is not None and _state(instance) != "skipped" else _state(instance)
        return Ended(state, error)

    def pushed(self, instance: Any) -> Dict[str, str]:
        """See `Driver`."""
        from airflow.models.xcom import XCom
        from sqlalchemy import select

        query = select(XCom.key, XCom.value).where(
            XCom.dag_id == instance.dag_id,
            XCom.run_id == instance.run_id,
            XCom.task_id == instance.task_id,
            XCom.map_index == instance.map_index,
        )
        return shown((row.key, XCom.deserialize_value(row)) for row in self._session.execute(query))

    def close(self) -> None:
        """Lets go of the database."""
        self._session.close()

    def state(self) -> str:
        """See `Driver`."""
        return str(getattr(self._run.state, "value", self._run.state))

    def _attempt(self, instance: Any) -> None:
        from airflow.exceptions import AirflowSkipException
        from airflow.utils.state import TaskInstanceState

        instance.state = TaskInstanceState.RUNNING
        self._session.commit()
        try:
            instance._run_raw_task(session=self._session)  # noqa: SLF001 (what `DAG.test` calls)
        except AirflowSkipException:
            instance.state = TaskInstanceState.SKIPPED

    def _run_trigger(self, instance: Any) -> Optional[BaseException]:
        """Waits for the trigger of a deferred task here, and makes the task ready to go on."""
        from airflow.models.trigger import Trigger
        from airflow.utils.module_loading import import_string

        row = self._session.get(Trigger, instance.trigger_id)
        trigger = import_string(row.classpath)(**row.kwargs)
        try:
            event = asyncio.run(_first(trigger))
        except Exception as error:
            return error
        if event is not None:
            Trigger.submit_event(row.id, event, session=self._session)
        self._session.commit()
        instance.refresh_from_db(session=self._session)
        return None


async def _first(trigger: Any) -> Any:
    async for event in trigger.run():
        return event
    return None


def _state(instance: Any) -> str:
    return str(getattr(instance.state, "value", instance.state) or "")
