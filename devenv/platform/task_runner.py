"""A pod like those of tasks, in which `devenv test` runs them: made when first asked for, gone when it is not used."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any

from devenv.agent_program import TASKS, agent_command
from devenv.backends.base import TaskRunner
from devenv.cluster.errors import ClusterError, PodFailed
from devenv.duplex import DuplexClosed
from devenv.errors import TimedOut
from devenv.events import Notice
from devenv.platform.errors import NotDeployed
from devenv.platform.waiting import diagnose, last_lines, with_shortage

if TYPE_CHECKING:
    from devenv.cluster.forward import Forward
    from devenv.cluster.objects import Object
    from devenv.duplex import Duplex
    from devenv.events import Reporter
    from devenv.platform.backend import PlatformBackend

NAME = "task-runner"
_CONTAINER = "base"
_TEMPLATE = ("task-config", "pod-template.yaml")
"""The ConfigMap and its key that hold the manifest of a task pod."""
_DIGEST = "devenv.io/made-from"
_NAME_LABEL = "devenv.io/name"
_START_SECONDS = 180.0
_LOOK_SECONDS = 0.2
_LINGER_SECONDS = 1_200.0
_UNUSED_SECONDS = 120
_LIFE = (
    f"sleep {_UNUSED_SECONDS}; "
    f"while ls ${{TMPDIR:-/tmp}}/devenv-agent-*/server-*.sock >/dev/null 2>&1; do sleep 5; done"
)
"""The pod ends with the process that has Airflow loaded, which ends when it is not used."""


def task_runner(backend: PlatformBackend, report: Reporter) -> TaskRunner:
    """Where tasks run in a cluster; the pod is made where it is not there, or differs from task pods of now.

    Args:
        backend: of the environment.
        report: takes a notice while the pod starts.

    Raises:
        NotDeployed: the environment is not up.
        PodFailed: the pod cannot start; the message says why.
        TimedOut: it does not start in time.
    """
    from devenv.sync.roots import roots_of

    _ensure(backend, report)
    return TaskRunner(
        open=lambda: _open(backend),
        folders={root.name: f"/opt/airflow/{root.name}" for root in roots_of(backend.project)},
        linger=_LINGER_SECONDS,
        forward=lambda target, port: _forward(backend, target, port),
    )


def _open(backend: PlatformBackend) -> Duplex:
    from devenv.cluster.exec import exec_duplex

    try:
        command = agent_command(module=TASKS)
        return exec_duplex(backend.cluster(), backend.namespace, NAME, _CONTAINER, command)
    except ClusterError as error:
        raise DuplexClosed(error.message) from error


def _forward(backend: PlatformBackend, target: int, port: int) -> Forward:
    from devenv.cluster.forward import Forward

    return Forward(backend.cluster(), backend.namespace, f"{_NAME_LABEL}={NAME}", target, port)


def _ensure(backend: PlatformBackend, report: Reporter) -> None:
    cluster, namespace = backend.cluster(), backend.namespace
    wanted = _manifest(backend)
    live = cluster.get("Pod", NAME, namespace)
    if live is not None and (not _is_made_from(live, wanted) or _has_old_secrets(backend, live)):
        cluster.delete("Pod", NAME, namespace, grace_seconds=0, wait_seconds=60)
        live = None
    if live is not None and diagnose(live) is None:
        return
    report(Notice("info", "starting a pod like a task's, in which tests run"))
    cluster.apply([wanted], owner=backend.project.identifier)
    _wait(backend)


def _manifest(backend: PlatformBackend) -> Object:
    """The task pods' own template with another life; it goes with the agent's pod, as `devenv down` ends that."""
    import yaml

    map_name, key = _TEMPLATE
    found = backend.cluster().get("ConfigMap", map_name, backend.namespace)
    if found is None:
        raise NotDeployed("the environment is not up", hint="devenv up")
    agent = backend.cluster().get("Pod", backend.pod_of("agent"), backend.namespace)
    if agent is None:
        raise NotDeployed("the agent's pod is gone", hint="devenv status")
    pod: Object = yaml.safe_load(found["data"][key])
    pod["metadata"]["name"] = NAME
    pod["metadata"]["namespace"] = backend.namespace
    pod["metadata"].setdefault("labels", {})[_NAME_LABEL] = NAME
    owner = {"apiVersion": "v1", "kind": "Pod", "name": agent["metadata"]["name"], "uid": agent["metadata"]["uid"]}
    pod["metadata"]["ownerReferences"] = [owner]
    for container in pod["spec"]["containers"]:
        if container["name"] == _CONTAINER:
            container["command"] = ["dumb-init", "--", "sh", "-c", _LIFE]
            container.pop("args", None)
    digest = hashlib.sha256(json.dumps(pod, sort_keys=True).encode()).hexdigest()[:16]
    annotations: dict[str, Any] = pod["metadata"].setdefault("annotations", {})
    annotations[_DIGEST] = digest
    return pod


def _is_made_from(live: Object, wanted: Object) -> bool:
    """Whether a pod that is there will do: made from the same manifest, and not at its end."""
    metadata, phase = live["metadata"], (live.get("status") or {}).get("phase")
    same = (metadata.get("annotations") or {}).get(_DIGEST) == wanted["metadata"]["annotations"][_DIGEST]
    return same and phase in ("Pending", "Running") and not metadata.get("deletionTimestamp")


def _has_old_secrets(backend: PlatformBackend, live: Object) -> bool:
    return any(pod.pod == live["metadata"]["name"] for pod in backend.stale_secrets())


def _wait(backend: PlatformBackend) -> None:
    cluster, namespace = backend.cluster(), backend.namespace
    clock = backend.project.environment.monotonic
    until, waiting = clock() + _START_SECONDS, None
    pause = threading.Event()
    while clock() < until:
        pod = cluster.get("Pod", NAME, namespace)
        if pod is not None:
            waiting = diagnose(pod)
            if waiting is None:
                return
            if waiting.fatal and not waiting.patience:
                detail = last_lines(cluster, pod, waiting.container, previous=waiting.previous)
                text = with_shortage(cluster, pod, waiting.text)
                raise PodFailed(f"{NAME} cannot start: {text}", hint=waiting.hint or "devenv doctor", detail=detail)
        pause.wait(_LOOK_SECONDS)
    why = f": {waiting.text}" if waiting is not None else ""
    raise TimedOut(f"{NAME} did not start within {_START_SECONDS:.0f} s{why}", hint="devenv doctor")
