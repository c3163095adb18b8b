"""Why a task of KubernetesExecutor does not run, or died without a word of its own.

Airflow's log has nothing of it: the answer is in the pod's status and events, and, where the API server refused the
pod, in the scheduler's log.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devenv.airflow.model import TaskKey
from devenv.airflow.runs import MORE_MEMORY
from devenv.cluster.objects import Object, component_of
from devenv.cluster.streams import Stop
from devenv.errors import DevenvError
from devenv.events import Notice, Reporter
from devenv.foreign_text import clean
from devenv.platform.waiting import diagnose, explain_pending, shortage

if TYPE_CHECKING:
    from devenv.cluster.connection import Cluster

_TASKS = "kubernetes_executor=True"
_SCHEDULER_LINES = 4_000
_POD_LINES = 2_000
_SCHEDULER_SECONDS = 900.0
_RETRY_SECONDS = 3.0
_BODY = "HTTP response body: "
_OVER_MEMORY = 137
"""The exit code of a process that was killed by SIGKILL: its memory's limit, or that of its node."""
_BEGAN = re.compile(r"Running <TaskInstance|Executing workload")
"""What a task's pod prints when it has found the task: of 2.x, and of 3.x, whose log has what comes after."""
_ERROR = re.compile(r"[\w.]*(Error|Exception|NotFound|Interrupt)\b.*: ")
_ENDED = {
    "OOMKilled": (
        "was over its memory limit (OOMKilled)",
        MORE_MEMORY,
    ),
    "Evicted": ("was evicted from its node", "devenv doctor   says what the node lacks"),
    "DeadlineExceeded": ("ran longer than its activeDeadlineSeconds", "raise it in the pod template or pod_override"),
    "Preempting": ("was ended for a pod of a higher priority", "set a priorityClassName in pod_override"),
    "NodeShutdown": ("ended with its node", "devenv run   tries again"),
    "NodeLost": ("ended with its node", "devenv run   tries again"),
}


@dataclass(frozen=True)
class Trouble:
    """Why a task's pod does not run, or no longer.

    Attributes:
        text: for a person: "its pod was over its memory limit (OOMKilled)".
        hint: what to do, or "".
        image: the image that the node cannot pull; "" where it is something else.
    """

    text: str
    hint: str = ""
    image: str = ""


def explain(cluster: Cluster, namespace: str, task: TaskKey) -> Trouble | None:
    """Why a task does not run, or what ended its pod; None when its pod is well, or nothing is known."""
    pods = [pod for pod in cluster.list("Pod", namespace, labels=_TASKS) if _about(pod) == task]
    if not pods:
        return _refused(cluster, namespace, task)
    pod = max(pods, key=lambda item: str(item["metadata"].get("creationTimestamp") or ""))
    found = ended_badly(pod) or _ended_before_the_task(cluster, pod)
    if found is not None:
        return found
    name = pod["metadata"]["name"]
    waiting = diagnose(pod)
    if waiting is None or (waiting.container and not waiting.fatal):
        return _being_ended(cluster.list("Event", namespace, fields=f"involvedObject.name={name}"))
    short = shortage(cluster, pod) if "not enough" in waiting.text else ""
    events = cluster.list("Event", namespace, fields=f"involvedObject.name={name}")
    said = explain_pending(pod, events, short=short)
    return Trouble(f"{said} (pod {name})", waiting.hint, waiting.image) if said else None


def ended_badly(pod: Object) -> Trouble | None:
    """What ended a pod from outside; None where its own program ended it, whose log then says why."""
    status = pod.get("status") or {}
    reasons = [str(status.get("reason") or "")]
    for entry in status.get("containerStatuses") or ():
        ended = (entry.get("state") or {}).get("terminated") or {}
        if ended:
            reasons.append(str(ended.get("reason") or ""))
            if ended.get("exitCode") == _OVER_MEMORY:
                reasons.append("OOMKilled" if "OOMKilled" in reasons else "")
    for reason in reasons:
        if reason in _ENDED:
            text, hint = _ENDED[reason]
            more = clean(status.get("message") or "", 2_000).strip()
            return Trouble(f"its pod {text}{': ' + more if more else ''}", hint)
    return None


def _being_ended(events: Iterable[Object]) -> Trouble | None:
    """What ends a pod that still runs: its task has failed already when the pod's status says so, seconds later."""
    for event in events:
        if event.get("reason") in _ENDED:
            text, hint = _ENDED[str(event["reason"])]
            return Trouble(f"its pod {text}: {clean(event.get('message') or '', 2_000).strip()}", hint)
    return None


def _ended_before_the_task(cluster: Cluster, pod: Object) -> Trouble | None:
    """What a pod wrote that ended before its task began, of which Airflow's log has nothing; None where it began."""
    metadata = pod["metadata"]
    for kind, container, code in _failed_containers(pod):
        written = cluster.logs(metadata["name"], metadata["namespace"], container, tail=_POD_LINES)
        lines = [clean(line.decode("utf-8", "replace"), 2_000).strip() for line in written]
        if kind == "init":
            last = next((line for line in reversed(lines) if line), "")
            said = f"its init container {container} ended with exit code {code}"
            return Trouble(f"{said}: {last}" if last else said, "correct executor_config of the task")
        if len(lines) >= _POD_LINES or any(_BEGAN.search(line) for line in lines):
            return None
        errors = [line for line in lines if _ERROR.match(line)]
        if errors:
            return Trouble(f"its pod ended before the task began: {errors[-1]}", "devenv dags --broken")
    return None


def _failed_containers(pod: Object) -> Iterator[tuple[str, str, int]]:
    """Kind, name and exit code of each container of a pod that ended otherwise than with 0."""
    for kind, key in (("init", "initContainerStatuses"), ("base", "containerStatuses")):
        for entry in (pod.get("status") or {}).get(key) or ():
            code = ((entry.get("state") or {}).get("terminated") or {}).get("exitCode")
            if code:
                yield kind, str(entry["name"]), int(code)


def _about(pod: Object) -> TaskKey:
    notes = pod["metadata"].get("annotations") or {}
    index = notes.get("map_index")
    return TaskKey(
        str(notes.get("dag_id")),
        str(notes.get("run_id")),
        str(notes.get("task_id")),
        int(index) if index not in (None, "") else -1,
    )


# What the API server refused


@dataclass(frozen=True)
class Refusal:
    """A pod that the API server did not take.

    Attributes:
        pod: its name, which begins with those of the DAG and the task.
        message: the API server's.
    """

    pod: str
    message: str


def refusals(lines: Iterable[str]) -> Iterator[Refusal]:
    """The refusals in lines of a scheduler's log: Kubernetes' client writes the API server's answer into it."""
    for line in lines:
        _before, found, body = line.partition(_BODY)
        status = _status(body) if found else None
        if status is None or status.get("kind") != "Status":
            continue
        message = clean(status.get("message") or "", 2_000)
        details = status.get("details")
        name = str(details.get("name") or "") if isinstance(details, dict) else ""
        yield Refusal(name, message)


def _status(body: str) -> dict[str, Any] | None:
    """The object at the beginning of a text, also where it stands in a string of JSON."""
    for text in (body, body.replace('\\"', '"').replace("\\\\", "\\")):
        try:
            found, _end = json.JSONDecoder().raw_decode(text.lstrip())
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return None


def _refused(cluster: Cluster, namespace: str, task: TaskKey) -> Trouble | None:
    prefix = _slug(f"{task.dag_id}-{task.task_id}")[:60]
    found: Refusal | None = None
    for pod in _schedulers(cluster, namespace):
        lines = (
            line.decode("utf-8", "replace")
            for line in cluster.logs(
                pod, namespace, "scheduler", since_seconds=_SCHEDULER_SECONDS, tail=_SCHEDULER_LINES
            )
        )
        for refusal in refusals(lines):
            if refusal.pod.startswith(prefix):
                found = refusal
    return _trouble(found) if found is not None else None


def _trouble(refusal: Refusal) -> Trouble:
    hint = "correct executor_config of the task, or the pod template that it names"
    if "exceeded quota" in refusal.message:
        hint = "ask for less in executor_config, or raise the ResourceQuota of the namespace"
    elif "serviceaccount" in refusal.message:
        hint = "make that ServiceAccount in the namespace, or leave service_account_name out"
    # Each attempt has a pod of another name: what is said stays the same.
    reason = re.sub(r"""^pods? "[^"]*" is (forbidden|invalid): """, "", refusal.message, flags=re.IGNORECASE)
    return Trouble(f"the API server refused its pod: {reason}", hint)


def _slug(text: str) -> str:
    """As Airflow names pods (airflow.providers.cncf.kubernetes.kubernetes_helper_functions.create_unique_id)."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _schedulers(cluster: Cluster, namespace: str) -> list[str]:
    return [
        str(pod["metadata"]["name"])
        for pod in cluster.list("Pod", namespace, fields="status.phase=Running")
        if component_of(pod) == "scheduler"
    ]


class TaskPodWatch:
    """Tells a watch of tasks' pods that were refused, or ended from outside.

    Args:
        cluster: whose scheduler's log is followed.
        namespace: of Airflow.
        report: takes the notices.
    """

    def __init__(self, cluster: Cluster, namespace: str, report: Reporter) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._report = report
        self._told: set[str] = set()
        self._stop = Stop()
        self._pause = threading.Event()
        threading.Thread(target=self._follow, name="refusals", daemon=True).start()

    def see(self, _event: str, pod: Object) -> None:
        """One change of a pod."""
        if component_of(pod) != "task":
            return
        found = ended_badly(pod)
        if found is not None:
            task = _about(pod)
            self._tell(
                f"task {task.task_id} of DAG {task.dag_id}: {found.text}", found.hint, str(pod["metadata"].get("uid"))
            )

    def close(self) -> None:
        """Ends following."""
        self._stop()
        self._pause.set()

    def _tell(self, text: str, hint: str, key: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._report(Notice("error", text, hint))

    def _follow(self) -> None:
        while not self._pause.is_set():
            try:
                for pod in _schedulers(self._cluster, self._namespace)[:1]:
                    self._read(pod)
            except DevenvError:
                pass  # the cluster is away, which the sync loop says
            self._pause.wait(_RETRY_SECONDS)

    def _read(self, pod: str) -> None:
        stream = self._cluster.logs(pod, self._namespace, "scheduler", follow=True, since_seconds=1)
        self._stop.add(stream)
        for refusal in refusals(line.decode("utf-8", "replace") for line in stream):
            found = _trouble(refusal)
            name = refusal.pod.rpartition("-")[0] or refusal.pod
            self._tell(f"task {name}: {found.text}", found.hint, f"{name} {found.text}")
