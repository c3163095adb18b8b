"""Airflow's REST API in the terms that the commands need, the same for 2.x (`/api/v1`) and 3.x (`/api/v2`).

Everything that comes back is bounded and cleaned of terminal escapes; times are seconds since the epoch.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from devenv.airflow.model import (
    Backfill,
    Dag,
    Heartbeat,
    ImportProblem,
    Run,
    RunProgress,
    TaskInstance,
    dag_path,
    last_line,
    read_backfill,
    read_dag,
    read_run,
    read_task_instance,
    read_text,
    read_time,
)
from devenv.airflow.releases import Release
from devenv.airflow.rest import AirflowRefused, NotFound, RestSession
from devenv.airflow.task_log import LogChunk, read_2, read_3
from devenv.errors import DevenvError, ExitCode, TimedOut
from devenv.foreign_text import clean

if TYPE_CHECKING:
    from pathlib import Path

    from devenv.airflow.rest import Credentials

_PAGE = 100
_ITEMS_LIMIT = 20_000


class DagUnknown(DevenvError):
    """Airflow has no DAG of this name.

    A file that does not parse defines no DAG; one that was saved just now is listed within a second or two.
    The message names the DAGs whose names are nearest, and the files that do not parse.
    """

    code = "DEVENV-724"
    exit_code = ExitCode.USAGE


class DagBroken(DevenvError):
    """The DAG's file does not parse, so Airflow would run an older version of it; its import error is shown."""

    code = "DEVENV-725"


class RunUnknown(DevenvError):
    """The DAG has no such run, or the run no such task or try."""

    code = "DEVENV-726"
    exit_code = ExitCode.USAGE


class ConfRefused(DevenvError):
    """`--conf` is not a JSON object, or the DAG's parameters refuse it."""

    code = "DEVENV-727"
    exit_code = ExitCode.USAGE


class BackfillRefused(DevenvError):
    """Airflow does not make this backfill: the DAG has no schedule, or the dates hold no run to make."""

    code = "DEVENV-728"
    exit_code = ExitCode.USAGE


class AirflowClient:
    """Airflow, logged in, over a kept session; may be used by several threads.

    Every method raises `AirflowUnreachable`, `AirflowLoginRefused` or `AirflowRefused` (see `devenv.airflow.rest`)
    besides what it names itself.
    """

    def __init__(self, base_url: str, credentials: Credentials, release: str, kept: Path | None = None) -> None:
        """Connects to nothing yet.

        Args:
            base_url: where Airflow's page answers: "http://127.0.0.1:8080".
            credentials: its user and password.
            release: Airflow's release: "2.7.2".
            kept: a file (0600) where the log-in is kept for the next command, or None.
        """
        self.base_url = base_url.rstrip("/")
        self.release = release
        self.major = 3 if Release(release).is_3 else 2
        self._rest = RestSession(base_url, credentials, major=self.major, kept=kept)

    def close(self) -> None:
        """Ends the session; never raises."""
        self._rest.close()

    def health(self) -> dict[str, Heartbeat]:
        """The parts of Airflow by name: `metadatabase`, `scheduler`, `triggerer`, `dag_processor`; needs no log-in."""
        answer = self._rest.open_page("/health" if self.major == 2 else "/api/v2/monitor/health")
        parts: dict[str, Heartbeat] = {}
        for name in ("metadatabase", "scheduler", "triggerer", "dag_processor"):
            part = answer.get(name) if isinstance(answer, dict) else None
            if isinstance(part, dict):
                status = part.get("status")
                parts[name] = Heartbeat(
                    status if status in ("healthy", "unhealthy") else "unknown",
                    read_time(part.get(f"latest_{name}_heartbeat")),
                )
        return parts

    def require_answers(self) -> None:
        """Asks once for what every page shows: health says nothing of packages that do not fit the release.

        Raises:
            AirflowUnreachable, AirflowLoginRefused, AirflowRefused: it does not answer as it should.
        """
        self._rest.get("/dags", limit=1)
        self._rest.get("/pools", limit=1)
        self.runs(limit=1)

    def version(self) -> str:
        """The release that answers: "2.7.2"."""
        return read_text(self._rest.get("/version").get("version"), 40)

    def dags(self) -> tuple[Dag, ...]:
        """All DAGs that have a file, by name."""
        query: dict[str, object] = {"only_active": True} if self.major == 2 else {"exclude_stale": True}
        return tuple(read_dag(raw) for raw in self._pages("/dags", "dags", order_by="dag_id", **query))

    def dag(self, dag_id: str) -> Dag:
        """One DAG.

        Raises:
            DagUnknown: there is none of this name.
        """
        found = self.find_dag(dag_id)
        if found is None:
            raise self._unknown(dag_id)
        return found

    def find_dag(self, dag_id: str) -> Dag | None:
        """One DAG, or None where there is none of this name, or its file is gone."""
        try:
            raw = self._rest.get(f"/dags/{_part(dag_id)}")
        except NotFound:
            return None
        return None if raw.get("is_active") is False or raw.get("is_stale") is True else read_dag(raw)

    def pause(self, dag_id: str) -> None:
        """Keeps the scheduler from making runs of a DAG.

        Raises:
            DagUnknown: there is none of this name.
        """
        self._set_paused(dag_id, paused=True)

    def unpause(self, dag_id: str) -> None:
        """Lets the scheduler make and start runs of a DAG.

        Raises:
            DagUnknown: there is none of this name.
        """
        self._set_paused(dag_id, paused=False)

    def set_pool(self, name: str, slots: int, description: str = "") -> None:
        """Makes a pool, or gives an existing one these slots."""
        body = {"name": name, "slots": slots, "description": description, "include_deferred": False}
        try:
            self._rest.send("POST", "/pools", body)
        except AirflowRefused as error:
            if error.status != 409:
                raise
            if self.major == 3:
                body["pool"] = body.pop("name")
            self._rest.send("PATCH", f"/pools/{_part(name)}", body)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None) -> str:
        """Makes a run of a DAG now; returns the run's id.

        Raises:
            DagUnknown: there is no such DAG.
            DagBroken: its file does not parse.
            ConfRefused: the DAG's parameters refuse `conf`.
        """
        body: dict[str, Any] = {"conf": dict(conf or {})}
        if self.major == 3:
            body["logical_date"] = None
        try:
            answer = self._rest.send("POST", f"/dags/{_part(dag_id)}/dagRuns", body)
        except NotFound as error:
            raise self._unknown(dag_id) from error
        except AirflowRefused as error:
            if error.status not in (400, 422):
                raise
            if "import errors" in error.message:  # "DAG with dag_id: 'x' has import errors and cannot be triggered"
                raise self.broken(dag_id) from error
            raise ConfRefused(
                f"{dag_id} does not take this configuration: {error.message.partition(': ')[2]}",
                hint=f'devenv run {dag_id} --conf \'{{"key": "value"}}\'',
            ) from error
        return read_text(answer.get("dag_run_id"))

    def run(self, dag_id: str, run_id: str) -> Run:
        """One run of a DAG.

        Raises:
            RunUnknown: there is no such run.
        """
        try:
            return read_run(self._rest.get(f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}"))
        except NotFound as error:
            raise RunUnknown(f"{dag_id} has no run {run_id!r}", hint=f"devenv logs {dag_id} --run latest") from error

    def runs(self, dag_id: str = "~", *, limit: int = 25) -> tuple[Run, ...]:
        """The runs that were made last, of one DAG or of all ("~"), the newest first.

        Raises:
            DagUnknown: there is no such DAG.
        """
        try:
            answer = self._rest.get(f"/dags/{_part(dag_id)}/dagRuns", order_by="-id", limit=limit)
        except NotFound as error:
            raise self._unknown(dag_id) from error
        return tuple(read_run(raw) for raw in _items(answer, "dag_runs"))

    def latest_run(self, dag_id: str) -> Run | None:
        """The run of a DAG that was made last, or None.

        Raises:
            DagUnknown: there is no such DAG.
        """
        if found := self.runs(dag_id, limit=1):
            return found[0]
        self.dag(dag_id)  # 2.x answers for a DAG that it does not know as for one without runs
        return None

    def task_instances(self, dag_id: str, run_id: str) -> tuple[TaskInstance, ...]:
        """The tasks of a run, in the order in which they were started, those not yet started last.

        Raises:
            RunUnknown: there is no such run.
        """
        path = f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances"
        try:
            tasks = [read_task_instance(raw) for raw in self._pages(path, "task_instances")]
        except NotFound as error:
            raise RunUnknown(f"{dag_id} has no run {run_id!r}", hint=f"devenv logs {dag_id} --run latest") from error
        if not tasks:
            self.run(dag_id, run_id)  # 2.x answers for a run that it does not know as for one without tasks
        return tuple(sorted(tasks, key=lambda task: (task.start or float("inf"), task.task_id, task.map_index)))

    def progress(self, dag_id: str, run_id: str) -> RunProgress:
        """A run and its tasks now.

        Raises:
            RunUnknown: there is no such run.
        """
        run = self.run(dag_id, run_id)  # before the tasks, so that a finished run has its tasks' final states
        return RunProgress(run, self.task_instances(dag_id, run_id))

    def runs_between(self, dag_id: str, start: datetime, end: datetime) -> tuple[Run, ...]:
        """The runs of a DAG whose logical dates lie between two moments (both included), the oldest first."""
        name = "execution_date" if self.major == 2 else "logical_date"
        query = {f"{name}_gte": start.isoformat(), f"{name}_lte": end.isoformat()}
        found = [read_run(raw) for raw in self._pages(f"/dags/{_part(dag_id)}/dagRuns", "dag_runs", **query)]
        return tuple(sorted(found, key=lambda run: run.logical))

    def watch_run(
        self, dag_id: str, run_id: str, *, interval: float = 0.5, always: bool = False
    ) -> Iterator[RunProgress]:
        """A run and its tasks, whenever something changed, until the run is finished.

        Args:
            dag_id: the DAG.
            run_id: the run.
            interval: seconds between two looks.
            always: gives each look, also when nothing changed.

        Raises:
            RunUnknown: there is no such run.
        """
        seen: RunProgress | None = None
        while True:
            progress = self.progress(dag_id, run_id)
            if always or progress != seen:
                seen = progress
                yield progress
            if progress.run.finished:
                return
            time.sleep(interval)  # the API has no way to be told

    def wait_run(self, dag_id: str, run_id: str, *, seconds: float) -> Run:
        """Waits until a run is finished.

        Raises:
            RunUnknown: there is no such run.
            TimedOut: it is still going on.
        """
        deadline = time.monotonic() + seconds
        while True:
            run = self.run(dag_id, run_id)
            if run.finished:
                return run
            if time.monotonic() >= deadline:
                raise TimedOut(
                    f"the run {run_id} of {dag_id} is still {run.state} after {seconds:.0f} s",
                    hint=f"devenv logs {dag_id} --run {run_id}",
                )
            time.sleep(0.3)  # the API has no way to be told

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, *, map_index: int = -1, token: str = ""
    ) -> LogChunk:
        """The log of a try of a task, or what was added to it since `token` (of the chunk before).

        Raises:
            RunUnknown: there is no such run, task or try.
        """
        path = f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances/{_part(task_id)}/logs/{try_number}"
        try:
            answer = self._rest.get(path, map_index=map_index, token=token or None)
        except NotFound as error:
            raise RunUnknown(
                f"the run {run_id} of {dag_id} has no task {task_id!r} with a try {try_number}",
                hint=f"devenv logs {dag_id}",
            ) from error
        return read_2(answer) if self.major == 2 else read_3(answer)

    def import_errors(self) -> tuple[ImportProblem, ...]:
        """The files that the scheduler cannot parse now, by path."""
        found = (
            ImportProblem(
                read_text(raw.get("filename"), 4096), clean(raw.get("stack_trace", "")), read_time(raw["timestamp"])
            )
            for raw in self._pages("/importErrors", "import_errors")
        )
        return tuple(sorted(found, key=lambda problem: problem.file))

    def import_error_of(self, dag: Dag) -> ImportProblem | None:
        """The import error of a DAG's file, or None."""
        for problem in self.import_errors():  # 3.x names the file relative to its bundle
            if problem.file and (dag.file == problem.file or dag.file.endswith("/" + problem.file)):
                return problem
        return None

    def broken(self, dag_id: str) -> DagBroken:
        """The error that says why a DAG's file does not parse."""
        dag = self.dag(dag_id)
        problem = self.import_error_of(dag)
        return DagBroken(
            f"the file of {dag_id} does not parse: {last_line(problem.trace) if problem else dag.file}",
            hint="repair the file; the watch says when it parses",
            detail=problem.trace if problem else None,
        )

    def create_backfill(
        self, dag_id: str, start: datetime, end: datetime, *, reprocess: Literal["none", "failed", "completed"] = "none"
    ) -> Backfill:
        """Airflow 3: makes the runs of a DAG between two dates (both included) that are not there yet.

        Args:
            dag_id: the DAG; it must have a schedule.
            start: the first logical date.
            end: the last.
            reprocess: which of the runs that are there are run again.

        Raises:
            DagUnknown: there is no such DAG.
            BackfillRefused: there is nothing to make.
        """
        body = {
            "dag_id": dag_id,
            "from_date": start.isoformat(),
            "to_date": end.isoformat(),
            "reprocess_behavior": reprocess,
        }
        try:
            return read_backfill(self._rest.send("POST", "/backfills", body))
        except NotFound as error:
            raise self._unknown(dag_id) from error
        except AirflowRefused as error:
            if error.status not in (400, 409, 422):
                raise
            raise BackfillRefused(f"no backfill of {dag_id}: {error.message.partition(': ')[2]}") from error

    def backfill(self, number: int) -> Backfill:
        """Airflow 3: how far a backfill is."""
        return read_backfill(self._rest.get(f"/backfills/{number}"))

    def clear(
        self, dag_id: str, run_id: str, task_ids: Sequence[str], *, upstream: bool, downstream: bool, rehearse: bool
    ) -> tuple[str, ...]:
        """Clears task instances of a run, so that they run again, as the page's Clear does.

        Args:
            dag_id: the DAG.
            run_id: the run, which goes on.
            task_ids: the tasks.
            upstream: also what comes before them.
            downstream: also what follows them.
            rehearse: only say which.

        Returns:
            The ids of the tasks whose instances were, or would be, cleared, sorted.

        Raises:
            RunUnknown: there is no such run or task.
        """
        body = {
            "dry_run": rehearse,
            "dag_run_id": run_id,
            "task_ids": list(task_ids),
            "only_failed": False,
            "only_running": False,
            "include_upstream": upstream,
            "include_downstream": downstream,
            "include_future": False,
            "include_past": False,
            "reset_dag_runs": True,
        }
        try:
            answer = self._rest.send("POST", f"/dags/{_part(dag_id)}/clearTaskInstances", body)
        except NotFound as error:
            raise RunUnknown(
                f"{dag_id} has no run {run_id!r} with {', '.join(task_ids)}", hint=f"devenv logs {dag_id} --run latest"
            ) from error
        return tuple(sorted({str(raw["task_id"]) for raw in _items(answer, "task_instances") if "task_id" in raw}))

    def _set_paused(self, dag_id: str, *, paused: bool) -> None:
        try:
            self._rest.send("PATCH", f"/dags/{_part(dag_id)}", {"is_paused": paused}, update_mask="is_paused")
        except NotFound as error:
            raise self._unknown(dag_id) from error

    def _pages(self, path: str, key: str, **query: object) -> Iterator[Mapping[str, Any]]:
        offset = 0
        while offset < _ITEMS_LIMIT:
            answer = self._rest.get(path, limit=_PAGE, offset=offset, **query)
            found = _items(answer, key)
            yield from found
            offset += len(found)
            if len(found) < _PAGE:
                return

    def _unknown(self, dag_id: str) -> DagUnknown:
        names = [dag.dag_id for dag in self.dags()]
        if dag_id in names:  # after a move to 3.x, until its dag-processor has looked
            return DagUnknown(
                f"Airflow has not parsed the file of DAG {dag_id!r} yet",
                hint=f"devenv run {dag_id}, in a moment; `devenv status` shows what does not run",
            )
        nearest = difflib.get_close_matches(dag_id, names, n=3, cutoff=0.5)
        message = f"Airflow has no DAG {dag_id!r}"
        if nearest:
            message += f"; did you mean {' or '.join(nearest)}?"
        elif not names:
            message += ", and no other either"
        problems = self.import_errors()
        detail = "\n".join(f"{dag_path(problem.file)}: {last_line(problem.trace)}" for problem in problems[:10])
        return DagUnknown(
            message,
            hint=f"devenv run {nearest[0]}" if nearest else "devenv dags",
            detail=f"These files do not parse, so that their DAGs may be missing:\n{detail}" if detail else None,
        )


def _part(name: str) -> str:
    """A name as one part of a path: run ids hold `:` and `+`, and may hold `/`."""
    return quote(name, safe="~")


def _items(answer: object, key: str) -> Sequence[Mapping[str, Any]]:
    found = answer.get(key) if isinstance(answer, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
