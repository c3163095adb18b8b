"""What goes wrong with pods while devenv watches: tasks that cannot start, core processes that end.

The counterpart of what the local backend's supervisor tells about its processes.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from devenv.cluster.objects import Object, component_of
from devenv.errors import DevenvError
from devenv.events import Notice, Reporter
from devenv.platform.waiting import Waiting, diagnose, last_lines, with_shortage

if TYPE_CHECKING:
    from devenv.cluster.connection import Cluster

_PATIENCE_SECONDS = 5.0
"""How long a task's pod may wait for what does not go away by itself: that of a task that just ended comes free."""
_IMAGE_SECONDS = 10.0
_TASK = "task"
_IN_DAG_FILE = re.compile(r"unusual_prefix_[0-9a-f]+_(\w+)")
"""How Airflow names the module of a DAG file (airflow.models.dagbag), which no other process can import."""
_VAULT = "vault"
"""Its restarts mean more than that it runs again: `devenv.vault.watching` tells of them."""


class PodTroubles:
    """Tells a person once of each pod that cannot start, and of each restart of a core process.

    Args:
        cluster: asked for the last lines of logs, and for what is free on the nodes.
        report: takes the notices.
        later: calls a function after so many seconds, and returns what takes that back.
        bring_image: loads an image that the node cannot pull; whether it could.
    """

    def __init__(
        self,
        cluster: Cluster,
        report: Reporter,
        later: Callable[[float, Callable[[], object]], Callable[[], None]] | None = None,
        bring_image: Callable[[str], bool] = lambda _image: False,
    ) -> None:
        self._bring_image = bring_image
        self._cluster = cluster
        self._report = report
        self._later = later or _timer
        self._lock = threading.Lock()
        self._pods: dict[str, Object] = {}
        self._restarts: dict[tuple[str, str], int] = {}
        self._told: set[tuple[str, str]] = set()
        self._due: dict[str, Callable[[], None]] = {}

    def see(self, event: str, pod: Object) -> None:
        """One change of a pod."""
        identifier = str(pod["metadata"]["uid"])
        with self._lock:
            if event == "DELETED" or pod["metadata"].get("deletionTimestamp"):
                self._forget(identifier)
                return
            self._pods[identifier] = pod
            waiting = diagnose(pod)
            if waiting is not None and waiting.fatal and identifier not in self._due and self._is_news(pod, waiting):
                patience = min(waiting.patience, _PATIENCE_SECONDS)
                self._due[identifier] = self._later(patience, lambda: self._look(identifier))
            ended = self._ended(pod)
            if event == "ADDED":  # seen again after the cluster was away: everything restarted with its node
                return
            for container, status in ended:  # reading a log takes time, in which events would pile up
                key = f"{identifier}/{container}"
                self._due[key] = self._later(0.0, functools.partial(self._tell_restart, key, pod, container, status))

    def close(self) -> None:
        """Takes back what was still to be looked at."""
        with self._lock:
            for cancel in self._due.values():
                cancel()

    def _forget(self, identifier: str) -> None:
        """A pod that is gone does not come back: a new one has another uid."""
        self._pods.pop(identifier, None)
        self._told = {key for key in self._told if key[0] != identifier}
        self._restarts = {key: count for key, count in self._restarts.items() if key[0] != identifier}

    def _look(self, identifier: str) -> None:
        """A pod that could not start some seconds ago, again."""
        with self._lock:
            self._due.pop(identifier, None)
            pod = self._pods.get(identifier)
            waiting = diagnose(pod) if pod is not None else None
            if pod is None or waiting is None or not waiting.fatal or not self._is_news(pod, waiting):
                return
            self._told.add(_key(pod, waiting))
        if not self._bring(identifier):
            self._report(self._explained(pod, waiting))

    def _bring(self, identifier: str) -> bool:
        """Brings an image that the node cannot pull; looks again later, since the user may pull it here meanwhile."""
        with self._lock:
            self._due.pop(identifier, None)
            pod = self._pods.get(identifier)
        waiting = diagnose(pod) if pod is not None else None
        if pod is None or waiting is None or not waiting.image:
            return False
        if self._bring_image(waiting.image):
            said = f"image {waiting.image} was loaded from this machine's Docker, for {_name(pod).rstrip(',')}"
            self._report(Notice("info", said))
            return True
        with self._lock:
            self._due[identifier] = self._later(_IMAGE_SECONDS, lambda: self._bring(identifier))
        return False

    def _is_news(self, pod: Object, waiting: Waiting) -> bool:
        return _key(pod, waiting) not in self._told

    def _explained(self, pod: Object, waiting: Waiting) -> Notice:
        text, _, rest = waiting.text.partition("\n")
        try:
            text = with_shortage(self._cluster, pod, text)
            if waiting.container:
                rest = last_lines(self._cluster, pod, waiting.container, previous=waiting.previous)
        except DevenvError as error:
            rest = rest or error.message
        return Notice("error", f"{_name(pod)} cannot start: {text}\n{rest}".rstrip(), waiting.hint or _logs(pod))

    def _ended(self, pod: Object) -> list[tuple[str, dict[str, Any]]]:
        """The containers that were started again since the pod was last seen → how the one before ended."""
        found: list[tuple[str, dict[str, Any]]] = []
        for entry in (pod.get("status") or {}).get("containerStatuses") or []:
            key, now = (str(pod["metadata"]["uid"]), str(entry["name"])), int(entry.get("restartCount") or 0)
            before = self._restarts.get(key, now)
            self._restarts[key] = now
            last = (entry.get("lastState") or {}).get("terminated")
            if now > before and last and key not in self._told and component_of(pod) != _VAULT:
                found.append((key[1], last))
        return found

    def _tell_restart(self, key: str, pod: Object, container: str, ended: dict[str, Any]) -> None:
        with self._lock:
            self._due.pop(key, None)
        how = (
            "was over its memory limit" if ended.get("reason") == "OOMKilled" else f"exit code {ended.get('exitCode')}"
        )
        try:
            lines = last_lines(self._cluster, pod, container, previous=True)
        except DevenvError:
            lines = ""
        name = component_of(pod) or pod["metadata"]["name"]
        guilty = _IN_DAG_FILE.search(lines)
        if guilty is not None and name == "scheduler":
            text = f"the scheduler ends on what the DAG file {guilty.group(1)}.py gives it"
            hint = "take functions and classes of the file out of executor_config, or remove the file"
            self._report(Notice("error", f"{text}\n{lines}".rstrip(), hint))
            return
        what = name if container == name else f"{container} of {name}"
        self._report(Notice("warning", f"{what} ended ({how}) and was started again\n{lines}".rstrip(), _logs(pod)))


def _key(pod: Object, waiting: Waiting) -> tuple[str, str]:
    """What is told once: a container that keeps ending, however often it does."""
    return str(pod["metadata"]["uid"]), waiting.container or waiting.text


def _name(pod: Object) -> str:
    """A pod for a person: "the pod of task load of sales", "scheduler"."""
    component = component_of(pod)
    notes = pod["metadata"].get("annotations") or {}
    labels = pod["metadata"].get("labels") or {}
    dag, task = (notes.get(key) or labels.get(key) for key in ("dag_id", "task_id"))
    if dag and task:
        return f"{pod['metadata']['name']}, of task {task} of DAG {dag},"
    return str(component or pod["metadata"]["name"])


def _logs(pod: Object) -> str:
    component = component_of(pod)
    return "devenv doctor" if component in ("", _TASK) else f"devenv logs {component}"


def _timer(seconds: float, action: Callable[[], object]) -> Callable[[], None]:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()
    return timer.cancel
