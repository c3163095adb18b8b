"""Waiting for pods by watching them, and saying at once what each of them waits for."""

from __future__ import annotations

import contextlib
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from devenv.cluster.errors import ClusterError, PodFailed
from devenv.cluster.objects import Object, Objects, component_of, container_statuses
from devenv.cluster.streams import Stop
from devenv.errors import DevenvError, TimedOut

if TYPE_CHECKING:
    from devenv.cluster.connection import Cluster

_LOG_LINES = 12
_SCHEDULING_SECONDS = 20.0
"""How long a pod may lack cpu or memory: that of a pod that is just ending comes free."""
_REPLACING_SECONDS = 10.0
"""How long a container may be seen to keep ending: its pod may be of the generation that is just being replaced."""
_RESTARTED_BEFORE_SECONDS = 90.0
"""How long a container may keep ending that did so before the wait: what it lacked may be starting just now."""
_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
_CONFIG_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


@dataclass(frozen=True)
class Waiting:
    """What a pod waits for.

    Attributes:
        text: for a person, without the pod's name.
        fatal: it will not go away by itself.
        container: whose last log lines explain it; "" for none.
        previous: the log is that of the container before its restart.
        patience: seconds for which even a fatal reason may pass.
        crashed: a container is in CrashLoopBackOff.
        image: the image that the node cannot pull; "" where it is something else.
    """

    text: str
    fatal: bool = False
    container: str = ""
    previous: bool = False
    patience: float = 0.0
    hint: str = ""
    crashed: bool = False
    image: str = ""


def diagnose(pod: Object) -> Waiting | None:
    """What a pod waits for, or None when it is ready (or has ended well)."""
    status = pod.get("status") or {}
    phase = status.get("phase")
    if pod["metadata"].get("deletionTimestamp"):
        return Waiting("is being replaced")
    if phase == "Succeeded":
        return None
    conditions = {item["type"]: item for item in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return _unscheduled(str(scheduled.get("message") or ""))
    for entry in status.get("initContainerStatuses") or []:
        if not _ended_well(entry):
            return _container(entry, init=True)
    for entry in status.get("containerStatuses") or []:
        if not entry.get("ready"):
            return _container(entry, init=False)
    if phase == "Failed":
        return Waiting(str(status.get("message") or status.get("reason") or "failed"), fatal=True)
    if conditions.get("Ready", {}).get("status") == "True":
        return None
    return Waiting("is being scheduled" if not status.get("containerStatuses") else "waits for its probes")


def _ended_well(entry: Object) -> bool:
    """An init container that is through, or a side-car that has started."""
    ended = (entry.get("state") or {}).get("terminated")
    return (ended is not None and ended.get("exitCode") == 0) or bool(entry.get("started"))


def _container(entry: Object, *, init: bool) -> Waiting:
    name = str(entry["name"])
    what = f"init container {name}" if init else f"container {name}"
    state = entry.get("state") or {}
    waiting, ended = state.get("waiting"), state.get("terminated")
    restarts = int(entry.get("restartCount") or 0)
    if waiting is not None:
        reason = str(waiting.get("reason") or "")
        message = str(waiting.get("message") or "")
        if reason in _IMAGE_REASONS:
            return _image(str(entry.get("image") or ""), message or reason)
        if reason == "CrashLoopBackOff":
            last = (entry.get("lastState") or {}).get("terminated") or {}
            text = f"{what} is in CrashLoopBackOff: {_end(last)}, {restarts} restarts"
            return Waiting(
                text,
                fatal=restarts >= 2,
                patience=_REPLACING_SECONDS,
                container=name,
                previous=True,
                crashed=True,
            )
        if reason in _CONFIG_REASONS:
            # A Secret or ConfigMap that comes a moment later cures it.
            return Waiting(f"{what} cannot be made: {message or reason}", fatal=True, patience=15.0)
        return Waiting("its init containers" if reason == "PodInitializing" else f"{what} is being made")
    if ended is not None:
        return Waiting(f"{what} ended: {_end(ended)}", container=name)
    if init:
        return Waiting(f"init container {name} is running")
    return Waiting(f"the probes of {what}" if not restarts else f"{what}, restarted {restarts} times")


def _end(ended: Mapping[str, Any]) -> str:
    """How a container ended: "OOMKilled, over its memory limit", "exit code 1"."""
    if ended.get("reason") == "OOMKilled":
        return "OOMKilled, it was over its memory limit"
    return f"exit code {ended.get('exitCode', '?')}"


def _image(image: str, message: str) -> Waiting:
    lower = message.lower()
    if "not found" in lower or "manifest unknown" in lower:
        why, hint = "there is no such image or tag", f"Check the name in devenv.toml, or `docker pull {image}` first."
    elif "unauthorized" in lower or "denied" in lower or "authentication" in lower:
        why = "the registry wants a login, or there is no such image"
        hint = "Set images.pull_secret, or `docker pull` it on this machine: devenv loads it from there."
    elif "toomanyrequests" in lower or "rate limit" in lower:
        why = "the registry's limit of pulls is reached"
        hint = f"`docker login` and `docker pull {image}`: devenv loads it from there."
    elif any(word in lower for word in ("no such host", "dial tcp", "timeout", "network", "lookup", "refused")):
        why = "the registry cannot be reached from the node"
        hint = f"`docker pull {image}` on this machine: devenv loads it from there. Or check network, VPN and proxy."
    else:
        why, hint = "the node cannot pull it", f"`docker pull {image}` on this machine: devenv loads it from there."
    return Waiting(f"image {image}: {why}\n{message}", fatal=True, hint=hint, image=image)


def _unscheduled(message: str) -> Waiting:
    if "Insufficient" in message:
        what = ", ".join(dict.fromkeys(re.findall(r"Insufficient ([\w./-]*\w)", message)))
        return Waiting(
            f"there is not enough {what} left on the node",
            fatal=True,
            patience=_SCHEDULING_SECONDS,
            hint="Raise minikube.cpus or minikube.memory (`devenv destroy`, then `devenv up`), or end other pods.",
        )
    lowered = message.lower()
    absent = re.search(r'persistentvolumeclaim "([^"]+)" not found', message)
    if absent is not None:
        return Waiting(
            f"its claim {absent.group(1)} does not exist",
            fatal=True,
            patience=_SCHEDULING_SECONDS,
            hint=f"make the PersistentVolumeClaim {absent.group(1)} in the namespace, or correct the volume",
        )
    if "unbound" in message or "persistentvolumeclaim" in lowered:
        return Waiting("its claim is being bound", hint="kubectl describe pvc   says what it waits for")
    if any(taint in message for taint in _PASSING_TAINTS):
        return Waiting("the node is not ready yet")
    for words, (text, hint) in _UNSCHEDULED.items():
        if words in lowered:
            return Waiting(f"{text}: {message}", fatal=True, patience=_SCHEDULING_SECONDS, hint=hint)
    return Waiting(message or "is being scheduled")


_PASSING_TAINTS = (
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.cloudprovider.kubernetes.io/",
)
"""Kubernetes puts them on a node that is just starting, and takes them back."""
_UNSCHEDULED = {
    "too many pods": ("the node has as many pods as it may have", "end other pods, or raise the node's maxPods"),
    "unschedulable": ("the node is cordoned", "kubectl uncordon NODE"),
    "had untolerated taint": (
        "the node has a taint that the pod does not tolerate",
        "remove it (kubectl taint nodes NODE KEY-), or add a toleration in pod_override",
    ),
    "affinity": ("no node fits its affinity", "correct affinity or nodeSelector in executor_config"),
    "selector": ("no node fits its nodeSelector", "correct affinity or nodeSelector in executor_config"),
    "free ports": ("the host port that it asks for is taken", "leave hostPort out"),
}
"""Words of the Kubernetes scheduler (plugins of k8s.io/kubernetes/pkg/scheduler) → what they mean, and what to do."""


def explain_pending(pod: Object, events: Iterable[Object] = (), *, short: str = "") -> str:
    """Why a pod (a task's) does not run, in one sentence.

    Args:
        pod: as the API has it.
        events: those about it; the newest warning is told when the pod itself says nothing.
        short: from `shortage`, how much cpu or memory is missing.

    Returns:
        "" when it runs.
    """
    waiting = diagnose(pod)
    if waiting is None:
        return ""
    text = waiting.text.split("\n")[0]
    if short and "not enough" in text:
        return f"{text}: {short}"
    warnings = [event for event in events if event.get("type") == "Warning" and event.get("message")]
    if warnings and not waiting.fatal:
        newest = max(warnings, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
        return f"{text}: {newest['message']}"
    return text


def shortage(cluster: Cluster, pod: Object) -> str:
    """How much cpu and memory is missing for a pod on the node that has most: "needs 500m cpu, 240m are free"."""
    needs = requests_of(pod)
    used: dict[str, tuple[float, float]] = {}
    for other in cluster.list("Pod", fields="status.phase!=Succeeded,status.phase!=Failed"):
        node = other.get("spec", {}).get("nodeName")
        if node:
            cpu, memory = requests_of(other)
            before = used.get(node, (0.0, 0.0))
            used[node] = (before[0] + cpu, before[1] + memory)
    free: list[tuple[float, float]] = []
    for node in cluster.list("Node"):
        allocatable = node.get("status", {}).get("allocatable", {})
        taken = used.get(node["metadata"]["name"], (0.0, 0.0))
        free.append((quantity(allocatable.get("cpu")) - taken[0], quantity(allocatable.get("memory")) - taken[1]))
    if not free:
        return ""
    parts: list[str] = []
    most_cpu, most_memory = max(item[0] for item in free), max(item[1] for item in free)
    if needs[0] > most_cpu:
        parts.append(f"it needs {needs[0] * 1000:.0f}m cpu and {max(0.0, most_cpu) * 1000:.0f}m are free")
    if needs[1] > most_memory:
        mebi = 1024 * 1024
        parts.append(f"it needs {needs[1] / mebi:.0f}Mi memory and {max(0.0, most_memory) / mebi:.0f}Mi are free")
    return ", ".join(parts)


def with_shortage(cluster: Cluster, pod: Object, text: str) -> str:
    """What a pod waits for, in one line, with how much cpu or memory is missing where that is it."""
    missing = shortage(cluster, pod) if "not enough" in text else ""
    return f"{text}: {missing}" if missing else text


def requests_of(pod: Object) -> tuple[float, float]:
    """What a pod requests: cpu in cores, memory in bytes. Init containers run one by one, before the others."""
    spec = pod.get("spec") or {}

    def one(container: Object) -> tuple[float, float]:
        requests = (container.get("resources") or {}).get("requests") or {}
        return quantity(requests.get("cpu")), quantity(requests.get("memory"))

    running = [one(item) for item in spec.get("containers") or []]
    before = [one(item) for item in spec.get("initContainers") or []]
    return (
        max([sum(item[0] for item in running), *(item[0] for item in before)]),
        max([sum(item[1] for item in running), *(item[1] for item in before)]),
    )


_SUFFIXES = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity(value: object) -> float:
    """A Kubernetes quantity as a number: "500m" is 0.5, "1Gi" is 1073741824."""
    match = re.fullmatch(r"([0-9.]+(?:[eE][0-9]+)?)([A-Za-z]*)", str(value or "0"))
    if match is None:
        return 0.0
    return float(match[1]) * _SUFFIXES.get(match[2], 1.0)


@dataclass(frozen=True)
class Workload:
    """A Deployment or StatefulSet to wait for."""

    kind: str
    name: str


def is_ready(workload: Object) -> bool:
    """Whether all its pods are of the newest generation and ready."""
    status = workload.get("status") or {}
    wanted = int((workload.get("spec") or {}).get("replicas", 1))
    return (
        int(status.get("observedGeneration") or 0) >= int(workload["metadata"].get("generation") or 0)
        and int(status.get("readyReplicas") or 0) >= wanted
        and int(status.get("updatedReplicas") or 0) >= wanted
        and int(status.get("replicas") or 0) <= wanted
    )


def ready_pods(workload: Object, pods: Iterable[Object]) -> int:
    """How many of these pods are the workload's, run, and are ready.

    A workload's own status is what its controller last wrote, which may be before a node was stopped.
    """
    wanted = ((workload.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return sum(
        (pod.get("status") or {}).get("phase") == "Running" and _selects(wanted, pod) and diagnose(pod) is None
        for pod in pods
    )


def _selects(wanted: Mapping[str, str], pod: Object) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in wanted.items())


def is_stale(pod: Object, since: float) -> bool:
    """Whether a pod is said to be ready by containers that started before `since` (seconds since the epoch).

    After a stopped node starts again this holds until its kubelet has looked: every container ended with the node.
    """
    if diagnose(pod) is not None:
        return False
    running = [(entry.get("state") or {}).get("running") for entry in pod["status"].get("containerStatuses") or []]
    started = [each["startedAt"] for each in running if each and each.get("startedAt")]
    return any(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() < since for moment in started)


class ReadyWait:
    """Waits until workloads are ready.

    Args:
        cluster: where.
        namespace: of the workloads.
        workloads: what to wait for.
        progress: told what the slowest waits for, whenever that changes.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        workloads: Sequence[Workload],
        progress: Callable[[str], None] = lambda _message: None,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._workloads = tuple(workloads)
        self._progress = progress
        self._changes: queue.SimpleQueue[tuple[str, str, Object] | DevenvError | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._stops: list[Stop] = []
        self._live: dict[Workload, Object] = {}
        self._pods: dict[str, Object] = {}
        self._fatal_since: dict[tuple[str, str], float] = {}
        self._restarted_before: dict[str, frozenset[str]] = {}
        self._said = ""

    def cancel(self) -> None:
        """Ends the wait from another thread; `run` then raises KeyboardInterrupt."""
        self._stop.set()
        self._changes.put(None)

    def run(self, timeout: float) -> None:
        """Returns once all are ready.

        Raises:
            PodFailed: a pod cannot start; told as soon as it is known, with the last lines of its log.
            TimedOut: not ready within `timeout` seconds; the message says what was missing.
            ClusterError: the cluster does not answer.
        """
        deadline = time.monotonic() + timeout
        for kind in sorted({workload.kind for workload in self._workloads} | {"Pod"}):
            stop = Stop()
            self._stops.append(stop)
            threading.Thread(target=self._follow, args=(kind, stop), name=f"wait-{kind}", daemon=True).start()
        try:
            while not self._all_ready():
                self._judge()
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimedOut(
                        f"Not ready within {timeout:.0f} s: {self._summary()}",
                        hint="`devenv logs` shows what they say; `devenv up` goes on from here.",
                    )
                # A second at most: a reason that lasts turns into a failure without a further event.
                with contextlib.suppress(queue.Empty):
                    self._take(self._changes.get(timeout=min(1.0, left)))
        finally:
            for stop in self._stops:
                stop()

    def _follow(self, kind: str, stop: Stop) -> None:
        failures = 0
        while not stop.called:
            try:
                for event, item in self._cluster.watch(kind, self._namespace, stop=stop):
                    failures = 0
                    self._changes.put((event, kind, item))
            except ClusterError as error:  # noqa: PERF203 (a watch is tried again)
                failures += 1
                if failures > 5:
                    self._changes.put(error)
                    return
                threading.Event().wait(0.5 * failures)  # the API server restarts while a node settles

    def _take(self, change: tuple[str, str, Object] | DevenvError | None) -> None:
        if change is None or self._stop.is_set():
            raise KeyboardInterrupt
        if isinstance(change, DevenvError):
            raise change
        event, kind, item = change
        if kind == "Pod":
            if event == "DELETED":
                self._pods.pop(item["metadata"]["uid"], None)
            else:
                self._pods[item["metadata"]["uid"]] = item
                self._restarted_before.setdefault(item["metadata"]["uid"], _restarted(item))
            return
        workload = Workload(kind, item["metadata"]["name"])
        if workload in self._workloads:
            if event == "DELETED":
                self._live.pop(workload, None)
            else:
                self._live[workload] = item

    def _all_ready(self) -> bool:
        def ready(item: Object) -> bool:
            wanted = int((item.get("spec") or {}).get("replicas", 1))
            return is_ready(item) and ready_pods(item, self._pods.values()) >= wanted

        return all(workload in self._live and ready(self._live[workload]) for workload in self._workloads)

    def _judge(self) -> None:
        """Says what the pods wait for, and fails for what will not pass."""
        lines: list[str] = []
        for pod in self._ours():
            waiting = diagnose(pod)
            name = component_of(pod) or pod["metadata"]["name"]
            key = (pod["metadata"]["uid"], waiting.text if waiting else "")
            if waiting is None:
                continue
            lines.append(f"{name}: {waiting.text.splitlines()[0]}")
            if waiting.fatal:
                since = self._fatal_since.setdefault(key, time.monotonic())
                before = self._restarted_before[pod["metadata"]["uid"]]
                patience = _RESTARTED_BEFORE_SECONDS if waiting.container in before else waiting.patience
                if time.monotonic() - since >= patience:
                    raise self._failure(pod, name, waiting)
        said = "; ".join(lines)
        if said and said != self._said:
            self._said = said
            self._progress(said)

    def _ours(self) -> Objects:
        """Pods of the workloads that are waited for, by their selectors; those being deleted do not count."""
        found: Objects = []
        for workload in self._live.values():
            wanted = ((workload.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
            for pod in self._pods.values():
                if _selects(wanted, pod) and not pod["metadata"].get("deletionTimestamp"):
                    found.append(pod)
        return found

    def _failure(self, pod: Object, name: str, waiting: Waiting) -> PodFailed:
        text, _, detail = waiting.text.partition("\n")
        if waiting.container:
            detail = last_lines(self._cluster, pod, waiting.container, previous=waiting.previous)
        with contextlib.suppress(DevenvError):
            text = with_shortage(self._cluster, pod, text)
        hint = waiting.hint or f"`devenv logs {name}` shows more; when it is mended, `devenv up` goes on from here."
        return PodFailed(f"{name} cannot start: {text}", hint=hint, detail=detail or None)

    def _summary(self) -> str:
        missing = [workload.name for workload in self._workloads if workload not in self._live]
        parts = [f"{name} does not exist" for name in missing]
        return "; ".join([*parts, self._said] if self._said else parts) or "no pod has appeared"


def _restarted(pod: Object) -> frozenset[str]:
    """The containers of a pod that have been restarted."""
    return frozenset(str(entry["name"]) for entry in container_statuses(pod) if entry.get("restartCount"))


def last_lines(cluster: Cluster, pod: Object, container: str, *, previous: bool = False) -> str:
    """The last lines that a container wrote; "" when they cannot be read."""
    metadata = pod["metadata"]
    for before in (previous, not previous):
        with contextlib.suppress(ClusterError):
            stream = cluster.logs(metadata["name"], metadata["namespace"], container, tail=_LOG_LINES, previous=before)
            text = "\n".join(line.decode("utf-8", "replace") for line in stream)
            if text.strip():
                return text
    return ""
