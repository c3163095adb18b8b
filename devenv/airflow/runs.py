"""A run from its start to its end, told as steps: one for each task."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devenv.airflow.client import DagBroken, RunUnknown
from devenv.airflow.model import Backfill, Dag, Run, RunProgress, TaskInstance, TaskKey, dag_path, last_line
from devenv.errors import DevenvError, UsageError
from devenv.events import Notice, Reporter, StepFailed, StepFinished, StepProgress, StepStarted

if TYPE_CHECKING:
    from devenv.airflow.client import AirflowClient

Explain = Callable[[TaskKey], tuple[str, str]]
"""Says why a task does not run, or what ended it from outside, and what to do; ("", "") when nothing is known."""

_LISTING_SECONDS = 15.0
_FIRST_PARSING_SECONDS = 90.0
"""For a DAG that Airflow knows from before a move to 3.x: its dag-processor may still be starting."""
_PARSING_SECONDS = 3.0
_PENDING_SECONDS = 4.0
_ASK_SECONDS = 3.0
"""How often a task that is queued or runs is asked about where it runs."""
_STALLED_SECONDS = 5.0
"""How long no task of a run may be active before its DAG is looked at: it may be gone, or paused."""
_KILLED = "return code -9"
"""How Airflow's log names the end of a task's process by SIGKILL (airflow.jobs.local_task_job_runner)."""
MORE_MEMORY = "give the task more memory: executor_config={'pod_override': …} with resources.limits.memory"
"""What to do about a task that was over its memory limit."""
_FAILED = ("failed", "upstream_failed")
_ACTIVE = ("queued", "running", "deferred", "up_for_reschedule", "up_for_retry", "restarting")
_DONE = ("success", "skipped", "removed", *_FAILED)


class RunFailed(DevenvError):
    """A run of a DAG failed; the failed task's last log lines are shown."""

    code = "DEVENV-729"


class DateInvalid(UsageError):
    """`--from` and `--to` take a day (`2026-01-31`) or a moment (`2026-01-31T06:00`), in UTC unless it names a zone."""

    code = "DEVENV-730"


def start_run(
    client: AirflowClient, dag_id: str, conf: Mapping[str, Any], files: Callable[[], Sequence[str]], report: Reporter
) -> Run:
    """Unpauses a DAG and makes a run of it; a DAG that was saved just now is waited for.

    Args:
        client: Airflow.
        dag_id: the DAG.
        conf: the run's configuration.
        files: the DAG files that name or make this DAG; asked when Airflow does not know it: is it worth waiting for?
        report: is told about the wait, and that the DAG was paused.

    Raises:
        DagUnknown: there is no such DAG.
        DagBroken: its file does not parse.
        ConfRefused: the DAG's parameters refuse `conf`.
    """
    dag = client.find_dag(dag_id) or _wait_listed(client, dag_id, files(), report)
    if dag.broken:
        raise client.broken(dag_id)
    run_id = client.trigger(dag_id, conf)
    if dag.paused:
        client.unpause(dag_id)
        report(Notice("info", f"{dag_id} was paused; it is not any more"))
    return client.run(dag_id, run_id)


def _wait_listed(client: AirflowClient, dag_id: str, files: Sequence[str], report: Reporter) -> Dag:
    """The DAG once the scheduler has listed it, where a file makes it; otherwise an error that says what is wrong."""
    if files:
        report(Notice("info", f"waiting for the scheduler to list {dag_id}"))
    began = time.monotonic()
    seconds = _LISTING_SECONDS
    if files and any(dag.dag_id == dag_id for dag in client.dags()):
        seconds = _FIRST_PARSING_SECONDS
    while files and time.monotonic() - began < seconds:
        time.sleep(0.3)  # the API has no way to be told
        found = client.find_dag(dag_id)
        if found is not None:
            return found
        if time.monotonic() - began < _PARSING_SECONDS:
            continue  # an import error may be that of the version before the last save
        for problem in client.import_errors():
            if any(problem.file == file or problem.file.endswith("/" + file) for file in files):
                raise DagBroken(
                    f"{dag_path(problem.file)}, which names {dag_id}, does not parse: {last_line(problem.trace)}",
                    hint="repair the file; the watch says when it parses",
                    detail=problem.trace,
                )
    return client.dag(dag_id)


def files_naming(dag_folder: Path, dag_id: str) -> list[str]:
    """The files in the DAG folder that have this DAG's id in their text, relative."""
    word = re.compile(rf"\b{re.escape(dag_id)}\b".encode())
    found = []
    for path in sorted(dag_folder.rglob("*")):
        if path.suffix not in (".py", ".yaml", ".yml", ".json"):
            continue
        try:
            if path.stat().st_size < 1_000_000 and word.search(path.read_bytes()):
                found.append(path.relative_to(dag_folder).as_posix())
        except OSError:
            continue  # a file that cannot be read names nothing
    return found


def follow_run(
    client: AirflowClient,
    run: Run,
    report: Reporter,
    explain: Explain = lambda _task: ("", ""),
    *,
    tasks: Collection[str] | None = None,
) -> RunProgress:
    """Tells each task of a run as a step until the run is finished; returns how it ended.

    Args:
        client: Airflow.
        run: a run that was just made.
        report: is told.
        explain: asked about a task that is queued for more than a few seconds, or runs.
        tasks: tell only of these; None for all.

    Raises:
        RunUnknown: the run was deleted meanwhile.
        RunFailed: its DAG is gone, so that it will never end.
    """
    steps = _Tasks(client, run, report, explain, tasks)
    for progress in client.watch_run(run.dag_id, run.run_id, always=True):
        steps.update(progress)
        steps.look_at_dag()
    return steps.last


class _Tasks:
    """The tasks of a run as steps."""

    def __init__(
        self, client: AirflowClient, run: Run, report: Reporter, explain: Explain, wanted: Collection[str] | None
    ) -> None:
        self._client = client
        self._wanted = wanted
        self._report = report
        self._explain = explain
        self._started: dict[str, float] = {}
        self._queued: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._done: set[str] = set()
        self._asked: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        self._reported: dict[str, float] = {}
        self._active = time.monotonic()
        self.last = RunProgress(run, ())

    def update(self, progress: RunProgress) -> None:
        self.last = progress
        for task in progress.tasks:
            if task.label not in self._done and (self._wanted is None or task.task_id in self._wanted):
                self._task(progress.run, task)

    def look_at_dag(self) -> None:
        """Where nothing has moved for a while: whether the DAG is still there, and not paused."""
        now = time.monotonic()
        if any(task.state in _ACTIVE for task in self.last.tasks) or self.last.run.finished:
            self._active = now
            return
        if now - self._active < _STALLED_SECONDS:
            return
        self._active = now
        dag_id = self.last.run.dag_id
        dag = self._client.find_dag(dag_id)
        if dag is None:
            raise RunFailed(
                f"{dag_id} is no longer there, so its run {self.last.run.run_id} cannot go on",
                hint="devenv dags   shows what the scheduler knows",
            )
        if dag.paused:
            self._report(Notice("warning", f"{dag_id} was paused, so its run does not go on", "unpause it in Airflow"))

    def _why(self, run: Run, task: TaskInstance, now: float) -> str:
        """What keeps a task, or ended its pod, asked for now and then."""
        name = task.label
        if now - self._asked.get(name, 0.0) >= _ASK_SECONDS:
            self._asked[name] = now
            self._reasons[name] = self._explain(key_of(run, task))[0]
        return self._reasons.get(name, "")

    def _task(self, run: Run, task: TaskInstance) -> None:
        name, now = task.label, time.monotonic()
        if task.state in ("none", "scheduled"):
            return
        if task.state in _DONE:
            self._end(task)
            return
        if name not in self._started:
            self._started[name] = now
            self._report(StepStarted(name, name))
        if task.state != "queued":
            self._queued.pop(name, None)
        message = _words(task)
        waited = now - self._queued.setdefault(name, now) if task.state == "queued" else 0.0
        if task.state == "running" or waited >= _PENDING_SECONDS:
            message = self._why(run, task, now) or message
        if self._said.get(name) != message or now - self._reported.get(name, 0.0) >= _ASK_SECONDS:
            self._said[name], self._reported[name] = message, now
            self._report(StepProgress(name, message))

    def _end(self, task: TaskInstance) -> None:
        name = task.label
        self._done.add(name)
        if task.state in ("skipped", "removed"):
            self._report(StepFinished(name, name, 0.0, skipped=True, message=task.state))
            return
        seconds = max(0.0, task.end - task.start) if task.start and task.end else 0.0
        if name not in self._started:
            self._report(StepStarted(name, name))
        if task.state in _FAILED:
            self._report(StepFailed(name, name if task.state == "failed" else f"{name} (not run)", seconds))
        else:
            tries = f"try {task.try_number}" if task.try_number > 1 else ""
            self._report(StepFinished(name, name, seconds, message=tries))


def _words(task: TaskInstance) -> str:
    if task.state == "up_for_retry":
        return f"try {task.try_number} failed; waits to be tried again"
    again = f", try {task.try_number}" if task.try_number > 1 else ""
    return task.state.replace("_", " ") + again


def key_of(run: Run, task: TaskInstance) -> TaskKey:
    """What names a task of a run."""
    return TaskKey(run.dag_id, run.run_id, task.task_id, task.map_index)


def check_success(
    client: AirflowClient,
    progress: RunProgress,
    scrub: Callable[[str], str],
    explain: Explain = lambda _task: ("", ""),
    tasks: Collection[str] | None = None,
) -> None:
    """Does nothing where all is well: the run succeeded, and so did each of `tasks`.

    A run succeeds with failed tasks in it where what follows them runs all the same (`trigger_rule="all_done"`).

    Args:
        client: Airflow.
        progress: of the run, once it is finished.
        scrub: takes secrets out of lines.
        explain: asked what ended the task that failed.
        tasks: only these are asked about; None for the run as a whole.

    Raises:
        RunFailed: it failed; with the last lines of the first task that failed.
    """
    run = progress.run
    concerned = [task for task in progress.tasks if tasks is None or task.task_id in tasks]
    if run.state == "success" and (tasks is None or not any(task.state in _FAILED for task in concerned)):
        return
    failed = [task for task in concerned if task.state == "failed"] or [
        task for task in progress.tasks if task.state == "failed"
    ]
    if not failed:
        states = ", ".join(f"{task.label} is {task.state}" for task in progress.tasks[:10])
        raise RunFailed(f"the run {run.run_id} of {run.dag_id} {run.state}: {states or 'it has no task'}")
    first = min(failed, key=lambda task: task.end or float("inf"))
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    lines = _telling_lines(client, run, first)
    reason, hint = explain(key_of(run, first))
    if not reason and any(_KILLED in line for line in lines):
        reason = "a process of it was killed (SIGKILL), most often for its memory"
        hint = MORE_MEMORY
    raise RunFailed(
        f"{first.label}{others} failed in the run {run.run_id} of {run.dag_id}" + (f": {reason}" if reason else ""),
        hint=hint or f"devenv logs {run.dag_id} {first.label} --run {run.run_id}",
        detail="\n".join(scrub(line) for line in lines) or None,
    )


def _telling_lines(client: AirflowClient, run: Run, task: TaskInstance) -> list[str]:
    """The lines of a failed task's log that say why: the first error with its traceback, and what came before it."""
    try:
        chunk = client.task_log(run.dag_id, run.run_id, task.task_id, max(1, task.try_number), map_index=task.map_index)
    except RunUnknown:
        return []
    lines = [line for line in chunk.lines if not line.text.startswith("***") and not line.text.endswith("::endgroup::")]
    error = next((index for index, line in enumerate(lines) if " ERROR - " in line.text[:120]), None)
    if error is None:
        return [line.text for line in lines[-20:]]
    end = error + 1
    while end < len(lines) and not lines[end].time:  # a traceback's lines have no times of their own
        end += 1
    trace = _own_frames([line.text for line in lines[error + 1 : end]])
    return [line.text for line in lines[max(0, error - 3) : error + 1]] + trace[-25:]


def _own_frames(trace: list[str]) -> list[str]:
    """A traceback without the frames of Airflow itself."""
    kept: list[str] = []
    skipping = False
    for line in trace:
        if line.startswith('  File "'):
            skipping = "/site-packages/airflow/" in line
        elif not line.startswith("    "):
            skipping = False
        if not skipping:
            kept.append(line)
    return kept


def parse_date(text: str, option: str) -> datetime:
    """The moment that `--from` or `--to` names.

    Raises:
        DateInvalid: it is none.
    """
    try:
        moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise DateInvalid(f"{option} {text!r} is no date", hint=f"{option} 2026-01-31") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def follow_backfill(
    client: AirflowClient, dag_id: str, backfill: Backfill, start: datetime, end: datetime, *, report: Reporter
) -> tuple[Run, ...]:
    """Airflow 3: tells how far a backfill is, until it is complete; returns its runs."""
    began, said = time.monotonic(), ""
    report(StepStarted("backfill", f"Backfill {dag_id}"))
    while True:
        complete = client.backfill(backfill.number).complete
        runs = client.runs_between(dag_id, start, end)
        done = [run for run in runs if run.finished]
        failed = [run for run in done if run.state == "failed"]
        message = f"{len(done)} of {len(runs)} runs done" + (f", {len(failed)} failed" if failed else "")
        if complete:
            seconds = time.monotonic() - began
            title = f"Backfill {dag_id}"
            failing = StepFailed("backfill", title, seconds)
            report(failing if failed else StepFinished("backfill", title, seconds, message=message))
            return runs
        if message != said:
            said = message
            report(StepProgress("backfill", message, len(done) / len(runs) if runs else None))
        time.sleep(0.5)  # the API has no way to be told
