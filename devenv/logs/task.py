"""The log of a task: over REST, also after its pod is gone; from the logs volume when the webserver is down."""

from __future__ import annotations

import difflib
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devenv.airflow.client import DagUnknown, RunUnknown
from devenv.airflow.model import Run, TaskInstance
from devenv.airflow.rest import AirflowUnreachable
from devenv.airflow.runs import key_of
from devenv.airflow.task_log import TaskLogLine, event_lines, plain_line
from devenv.errors import PlatformError
from devenv.events import LogLine
from devenv.foreign_text import clean
from devenv.logs.pods import TASK

if TYPE_CHECKING:
    from devenv.airflow.client import AirflowClient
    from devenv.backends.base import Backend

LATEST = "latest"
_TASK_FINISHED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
_POD_LINES = 100
"""How many lines of a running task's pod Airflow reads (RUNNING_POD_LOG_LINES of its KubernetesExecutor, 2.7)."""
_SETTLED_LOOKS = 2
"""A log of a try that ended is whole when so many looks in a row see the same."""
_TRY_FINISHED = _TASK_FINISHED | {"up_for_retry", "up_for_reschedule"}
_LOGS_LIMIT = 64 * 1024 * 1024


class LogsUnreadable(PlatformError):
    """Airflow's webserver does not answer, and the logs volume could not be read through a pod either."""

    code = "DEVENV-803"


@dataclass(frozen=True)
class TaskLogQuery:
    """Which task's log.

    Attributes:
        dag_id: the DAG.
        task_id: one task, or "" for every task of the run that was started.
        run_id: one run, or "latest".
        try_number: one try, or 0 for the last.
        follow: go on until the task, or the run, is finished.
    """

    dag_id: str
    task_id: str = ""
    run_id: str = LATEST
    try_number: int = 0
    follow: bool = False


def task_logs(
    backend: Backend, query: TaskLogQuery, *, scrub: Callable[[str], str] = lambda text: text
) -> Iterator[LogLine]:
    """The lines of a task's log, or of all tasks of a run one after the other.

    Raises:
        DagUnknown: Airflow has no such DAG.
        RunUnknown: it has no such run, task or try.
        LogsUnreadable: neither the webserver nor a pod gives the log.
    """
    try:
        client = backend.airflow()
        run = _find_run(client, query)
    except AirflowUnreachable as error:
        if query.follow:
            raise
        for label, text in _from_volume(backend, query, error):
            yield _log_line(label, text, scrub)
        return
    follow = _follow_run(client, run, query) if query.follow else _read_run(backend, client, run, query)
    for task, line in follow:
        yield _log_line(task.label, line, scrub)


def _log_line(source: str, line: TaskLogLine, scrub: Callable[[str], str]) -> LogLine:
    return LogLine(TASK, source, line.time, scrub(line.text))


def _find_run(client: AirflowClient, query: TaskLogQuery) -> Run:
    if query.run_id != LATEST:
        return client.run(query.dag_id, query.run_id)
    run = client.latest_run(query.dag_id)
    if run is None:
        raise RunUnknown(f"{query.dag_id} never ran", hint=f"devenv run {query.dag_id}")
    return run


def _chosen(tasks: Sequence[TaskInstance], run: Run, query: TaskLogQuery) -> list[TaskInstance]:
    """The tasks of the run that the query names."""
    name, _, index = query.task_id.partition("[")
    chosen = [
        task
        for task in tasks
        if not name or (task.task_id == name and (not index or index.rstrip("]") == str(task.map_index)))
    ]
    if not chosen and name:
        near = difflib.get_close_matches(name, [task.task_id for task in tasks], 3, 0.4)
        names = near or sorted({task.task_id for task in tasks})[:10]
        raise RunUnknown(
            f"the run {run.run_id} of {run.dag_id} has no task {query.task_id!r}; "
            + (f"did you mean {' or '.join(near)}?" if near else f"its tasks are {', '.join(names)}"),
            hint=f"devenv logs {run.dag_id} {names[0]}" if names else None,
        )
    return chosen


def _read_run(
    backend: Backend, client: AirflowClient, run: Run, query: TaskLogQuery
) -> Iterator[tuple[TaskInstance, TaskLogLine]]:
    chosen = _chosen(client.task_instances(run.dag_id, run.run_id), run, query)
    started = [task for task in chosen if task.try_number or query.try_number]
    if not started:
        states = ", ".join(sorted({f"{task.label} is {task.state}" for task in chosen})[:5])
        reason, hint = _why_without_log(backend, run, chosen)
        raise RunUnknown(
            f"no task of the run {run.run_id} of {run.dag_id} has a log: {states or 'it has no task'}"
            + (f"; {reason}" if reason else ""),
            hint=hint or (f"devenv logs {run.dag_id} -f" if not run.finished else "devenv logs scheduler"),
        )
    for task in started:
        for line in _whole(client, run, task, query):
            yield task, line


def _why_without_log(backend: Backend, run: Run, tasks: Sequence[TaskInstance]) -> tuple[str, str]:
    """What kept the first of the tasks that wait, or failed, from writing anything."""
    for task in tasks:
        if task.state in ("queued", "failed", "running"):
            return backend.explain_task(key_of(run, task))
    return "", ""


def _whole(client: AirflowClient, run: Run, task: TaskInstance, query: TaskLogQuery) -> list[TaskLogLine]:
    """All that there is of the log of a task's try."""
    number = query.try_number or task.try_number
    lines: list[TaskLogLine] = []
    token = ""
    while True:
        chunk = client.task_log(run.dag_id, run.run_id, task.task_id, number, map_index=task.map_index, token=token)
        lines += chunk.lines
        token = chunk.token
        if not token or not chunk.lines:
            return lines


class _Followed:
    """The log of a try that is being written: what of it was not shown yet.

    Airflow's token for what comes next counts characters, of the file and the pod's output while a task runs, and of
    the file alone afterwards (airflow.utils.log.file_task_handler, 2.7), so lines would be lost: the whole is read
    each time, and compared. Of the pod's output it reads the last 100 lines, after the file: of a task that writes more
    than that meanwhile, some are in neither, until the next look.
    """

    def __init__(self) -> None:
        self._shown: Counter[str] = Counter()
        self._last: list[TaskLogLine] = []
        self._same = 0
        self.complete = False

    def new(self, lines: list[TaskLogLine], *, finished: bool) -> Iterator[TaskLogLine]:
        """The lines that were not shown yet.

        Args:
            lines: the whole log as it is now.
            finished: the try is; what it wrote last arrives a moment later.
        """
        lines = [line for line in lines if not line.text.startswith("*** ")]  # where the log was found
        pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(self._last, lines, strict=False))
        settled = sum(1 for _pair in pairs)
        self._same = self._same + 1 if lines == self._last else 0
        self._last = lines
        self.complete = finished and self._same >= _SETTLED_LOOKS
        # The last line may be only the first half of one.
        whole = lines if self.complete or self._same else lines[:-1]
        if not finished and len(whole) - sum(self._shown.values()) >= _POD_LINES:
            whole = lines[:settled]
        seen: Counter[str] = Counter()
        for line in whole:
            seen[line.text] += 1
            # While the task runs, a line may stand there twice, from the file and from the pod's output.
            written = seen[line.text] if finished or not line.time else 1
            if written > self._shown[line.text]:
                self._shown[line.text] += 1
                yield line


def _follow_run(client: AirflowClient, run: Run, query: TaskLogQuery) -> Iterator[tuple[TaskInstance, TaskLogLine]]:
    followed: dict[tuple[str, int], _Followed] = {}
    while True:
        run = client.run(run.dag_id, run.run_id)  # before the tasks, so that a finished run has all of their lines
        tasks = client.task_instances(run.dag_id, run.run_id)
        chosen = _chosen(tasks, run, query) if tasks or run.finished else []
        waiting = 0
        for task in chosen:
            key = (task.label, query.try_number or task.try_number)
            if not key[1]:
                continue
            one = followed.setdefault(key, _Followed())
            if one.complete:
                continue
            try:
                lines = _whole(client, run, task, query)
            except RunUnknown:  # it ended before its log began
                one.complete = task.state in _TRY_FINISHED
                continue
            for line in one.new(lines, finished=task.state in _TRY_FINISHED):
                yield task, line
            waiting += not one.complete
        ended = run.finished or (query.task_id and chosen and all(task.state in _TASK_FINISHED for task in chosen))
        if ended and not waiting:
            return
        time.sleep(0.5)  # the API has no way to be told


# Runs beside the logs volume: finds the files of a DAG's newest or given run, and prints each with its name.
_READ_VOLUME = """\
import glob, os, subprocess, sys, json
dag, run, task, attempt = sys.argv[1:5]
base = os.environ.get("AIRFLOW__LOGGING__BASE_LOG_FOLDER") or subprocess.run(
    ["airflow", "config", "get-value", "logging", "base_log_folder"], stdout=subprocess.PIPE
).stdout.decode().strip().splitlines()[-1]
root = os.path.join(base, "dag_id=" + dag)
runs = [os.path.join(root, "run_id=" + run)] if run != "latest" else sorted(
    glob.glob(os.path.join(glob.escape(root), "run_id=*")), key=os.path.getmtime)[-1:]
for folder in runs:
    files = glob.glob(os.path.join(glob.escape(folder), "task_id=*", "**", "attempt=*.log"), recursive=True)
    for path in sorted(files, key=os.path.getmtime):
        name = os.path.relpath(path, folder)
        if task and not name.startswith("task_id=" + task + os.sep):
            continue
        if attempt != "0" and not name.endswith("attempt=" + attempt + ".log"):
            continue
        print(json.dumps({"file": name}))
        with open(path, errors="replace") as lines:
            for line in lines:
                print(json.dumps({"line": line.rstrip("\\n")[:16000]}))
"""


def _from_volume(backend: Backend, query: TaskLogQuery, error: AirflowUnreachable) -> Iterator[tuple[str, TaskLogLine]]:
    """The log files themselves, read in the scheduler's place."""
    command = ["python3", "-c", _READ_VOLUME, query.dag_id, query.run_id, query.task_id, str(query.try_number)]
    child = backend.command("scheduler", command, interactive=False)
    output, errors = child.communicate()
    source, found = query.task_id or query.dag_id, False
    for raw in output[:_LOGS_LIMIT].splitlines():
        try:
            item = json.loads(raw)
        except ValueError:
            continue
        found = True
        if "file" in item:
            source = _label(clean(item["file"], 1000))
        elif "line" in item:
            for line in _file_line(str(item["line"])):
                yield source, line
    if not found:
        if child.returncode == 0:
            raise DagUnknown(
                f"the logs volume holds no log of {query.dag_id} {query.task_id}".rstrip()
                + f", run {query.run_id}; the webserver could not be asked: {error.message}",
                hint="devenv status",
            )
        raise LogsUnreadable(
            f"{error.message}; and the log files cannot be read in the scheduler's place either",
            hint="devenv status",
            detail=clean(errors.decode("utf-8", "replace").strip()[-2000:]) or None,
        )


def _label(file: str) -> str:
    """`task_id=load/map_index=3/attempt=1.log` → `load[3]`."""
    parts = dict(part.split("=", 1) for part in file.split("/") if "=" in part)
    index = parts.get("map_index", "")
    return parts.get("task_id", file) + (f"[{index}]" if index else "")


def _file_line(text: str) -> Iterator[TaskLogLine]:
    """A line of a log file: plain text in 2.x, JSON in 3.x."""
    if text.startswith("{"):
        try:
            event = json.loads(text)
        except ValueError:
            event = None
        if isinstance(event, dict) and "event" in event:
            yield from event_lines(event)
            return
    yield plain_line(text)
