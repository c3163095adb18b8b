"""Runs tasks with Airflow 2, as `airflow.models.dag.DAG.test` does."""

from __future__ import annotations

import asyncio
from typing import Any, Iterable, List, Optional, Tuple

from devenv.agent.tasks.driver import Driver, Ended, of_instance, state_of
from devenv.agent.tasks.request import Request


class Airflow2(Driver):
    """See `Driver`."""

    def __init__(self) -> None:
        from airflow import settings

        # Not the session of the thread, which Airflow closes under whoever else uses it.
        self.session = settings.Session.session_factory()
        self._run: Any = None

    def open(self, dag: Any, request: Request, existing: str) -> str:
        """See `Driver`."""
        from airflow.models.dag import DAG
        from airflow.models.dagrun import DagRun
        from airflow.utils import timezone
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunType

        DAG.bulk_write_to_db([dag], session=self.session)
        self.session.commit()
        if existing:
            run = self.resumed(dag.dag_id, existing, request)
            run.dag = dag
            run.verify_integrity(session=self.session)
            self.session.commit()
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
            session=self.session,
        )
        run.dag = dag
        self.session.commit()
        self._run = run
        return str(run.run_id)

    def dag_run(self) -> Any:
        """See `Driver`."""
        return self._run

    def schedulable(self) -> List[Any]:
        """See `Driver`."""
        found, _callback = self._run.update_state(session=self.session)
        self.session.commit()
        return list(found)

    def run(self, instance: Any, task: Any) -> Ended:
        """See `Driver`."""
        error: Optional[BaseException] = None
        instance.task = task
        while True:
            try:
                self._attempt(instance)
            except Exception as raised:
                error = raised
            self.session.commit()
            instance.refresh_from_db(session=self.session)
            if state_of(instance) != "deferred":
                break
            error = self._run_trigger(instance)
            if error is not None:
                break
        state = "failed" if error is not None and state_of(instance) != "skipped" else state_of(instance)
        return Ended(state, error)

    def set_xcom(self, key: str, value: Any, **place: Any) -> None:
        """See `Driver`."""
        from airflow.models.xcom import XCom

        XCom.set(key=key, value=value, **place, session=self.session)

    def xcoms(self, instance: Any) -> Iterable[Tuple[str, Any]]:
        """See `Driver`."""
        from airflow.models.xcom import XCom
        from sqlalchemy import select

        query = select(XCom.key, XCom.value).where(*of_instance(XCom, instance))
        return ((row.key, XCom.deserialize_value(row)) for row in self.session.execute(query))

    def _attempt(self, instance: Any) -> None:
        from airflow.exceptions import AirflowSkipException
        from airflow.utils.state import TaskInstanceState

        instance.state = TaskInstanceState.RUNNING
        self.session.commit()
        try:
            instance._run_raw_task(session=self.session)  # noqa: SLF001 (what `DAG.test` calls)
        except AirflowSkipException:
            instance.state = TaskInstanceState.SKIPPED

    def _run_trigger(self, instance: Any) -> Optional[BaseException]:
        """Waits for the trigger of a deferred task here, and makes the task ready to go on."""
        from airflow.models.trigger import Trigger
        from airflow.utils.module_loading import import_string

        row = self.session.get(Trigger, instance.trigger_id)
        trigger = import_string(row.classpath)(**row.kwargs)
        try:
            event = asyncio.run(_first(trigger))
        except Exception as error:
            return error
        if event is not None:
            Trigger.submit_event(row.id, event, session=self.session)
        self.session.commit()
        instance.refresh_from_db(session=self.session)
        return None


async def _first(trigger: Any) -> Any:
    async for event in trigger.run():
        return event
    return None
