"""What a pod waits for, from its status as the API server has it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from devenv.cluster.errors import PodFailed
from devenv.cluster.streams import Stop
from devenv.platform.waiting import (
    ReadyWait,
    Workload,
    diagnose,
    explain_pending,
    is_ready,
    is_stale,
    quantity,
    ready_pods,
    requests_of,
)


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "uid": "1"}, "spec": {}, "status": {"phase": "Pending", **status}}


def waits(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "c", "image": "team/etl:1", "state": {"waiting": {"reason": reason, "message": message}}, **more}


def unschedulable(message: str) -> dict[str, Any]:
    return pod(conditions=[{"type": "PodScheduled", "status": "False", "message": message}])


@pytest.mark.parametrize(
    ("state", "text", "fatal"),
    [
        (
            pod(containerStatuses=[waits("ErrImagePull", "dial tcp: lookup registry-1.docker.io: no such host")]),
            "image team/etl:1: the registry cannot be reached from the node",
            True,
        ),
        (
            pod(containerStatuses=[waits("ImagePullBackOff", "manifest unknown")]),
            "image team/etl:1: there is no such image or tag",
            True,
        ),
        (unschedulable("0/1 nodes are available: 1 Insufficient cpu."), "there is not enough cpu left", True),
        (unschedulable("pod has unbound immediate PersistentVolumeClaims"), "its claim is being bound", False),
        (unschedulable("1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }"), "the node is not", False),
        (
            pod(
                containerStatuses=[
                    waits("CrashLoopBackOff", restartCount=3, lastState={"terminated": {"exitCode": 1}}),
                ]
            ),
            "container c is in CrashLoopBackOff: exit code 1, 3 restarts",
            True,
        ),
        (
            pod(
                initContainerStatuses=[
                    waits("CrashLoopBackOff", restartCount=2, lastState={"terminated": {"reason": "OOMKilled"}}),
                ]
            ),
            "init container c is in CrashLoopBackOff: OOMKilled, it was over its memory limit",
            True,
        ),
        (pod(initContainerStatuses=[{"name": "c", "state": {"running": {}}}]), "init container c is running", False),
        (pod(containerStatuses=[{"name": "c", "state": {"running": {}}}]), "the probes of container c", False),
    ],
)
def test_what_a_pod_waits_for(state: dict[str, Any], text: str, *, fatal: bool) -> None:
    waiting = diagnose(state)
    assert waiting is not None
    assert waiting.text.startswith(text)
    assert waiting.fatal is fatal


def test_a_ready_pod_and_one_that_ended_well_wait_for_nothing() -> None:
    ready = pod(
        phase="Running",
        conditions=[{"type": "Ready", "status": "True"}],
        initContainerStatuses=[{"name": "i", "state": {"terminated": {"exitCode": 0}}}],
        containerStatuses=[{"name": "c", "ready": True, "state": {"running": {}}}],
    )
    assert diagnose(ready) is None
    assert diagnose(pod(phase="Succeeded")) is None
    assert explain_pending(ready) == ""


def test_a_pending_task_says_how_much_is_missing_and_what_the_newest_event_was() -> None:
    short = "it needs 500m cpu and 240m are free"
    assert explain_pending(unschedulable("Insufficient cpu"), short=short).endswith(f"on the node: {short}")
    events = [
        {"type": "Warning", "message": "older", "lastTimestamp": "2026-01-01T00:00:00Z"},
        {"type": "Warning", "message": "claim not found", "lastTimestamp": "2026-01-01T00:00:05Z"},
    ]
    assert explain_pending(pod(), events) == "is being scheduled: claim not found"


def test_quantities_and_requests() -> None:
    assert [quantity(text) for text in ("500m", "2", "1Gi", "100k", None)] == [0.5, 2.0, 2**30, 1e5, 0.0]
    spec = {
        "initContainers": [{"resources": {"requests": {"cpu": "1"}}}],
        "containers": [{"resources": {"requests": {"cpu": "250m", "memory": "1Gi"}}}, {}],
    }
    assert requests_of({"spec": spec}) == (1.0, 2**30)


def test_a_workload_is_ready_when_its_newest_generation_is() -> None:
    ready = {
        "metadata": {"generation": 2},
        "spec": {"replicas": 1},
        "status": {"observedGeneration": 2, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1},
    }
    assert is_ready(ready)
    assert not is_ready({**ready, "metadata": {"generation": 3}})


def _running(name: str, started: str, *, ready: bool = True) -> dict[str, object]:
    return {
        "metadata": {"name": name, "labels": {"app": "scheduler"}},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [
                {"name": "c", "ready": ready, "started": True, "state": {"running": {"startedAt": started}}}
            ],
        },
    }


def test_a_workload_is_as_ready_as_its_pods_are_whatever_its_status_still_says() -> None:
    workload = {"spec": {"selector": {"matchLabels": {"app": "scheduler"}}}}
    evicted = {"metadata": {"name": "old", "labels": {"app": "scheduler"}}, "status": {"phase": "Failed"}}
    other = {**_running("other", "2026-01-01T10:00:00Z"), "metadata": {"name": "other", "labels": {"app": "vault"}}}
    now, not_yet = _running("a", "2026-01-01T10:00:00Z"), _running("b", "2026-01-01T10:00:00Z", ready=False)
    assert ready_pods(workload, [now, not_yet, evicted, other]) == 1


def test_a_pod_is_stale_when_its_containers_ended_with_the_node() -> None:
    since = datetime(2026, 1, 1, 10, tzinfo=timezone.utc).timestamp()
    assert is_stale(_running("a", "2026-01-01T09:59:00Z"), since)
    assert not is_stale(_running("a", "2026-01-01T10:00:03Z"), since)
    assert not is_stale(_running("a", "2026-01-01T09:59:00Z", ready=False), since)


class Told:
    """A cluster in which this happens to one Deployment and its pod, one after the other."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods = pods
        self.workload = {
            "metadata": {"name": "scheduler"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "scheduler"}}},
            "status": {"replicas": 1, "readyReplicas": 1, "updatedReplicas": 1},
        }

    def watch(self, kind: str, _namespace: str, *, stop: Stop) -> Iterator[tuple[str, dict[str, Any]]]:
        for item in self.pods if kind == "Pod" else (self.workload,):
            yield "MODIFIED", item
        while not stop.called:
            threading.Event().wait(0.01)

    def logs(self, *_names: str, **_how: Any) -> list[bytes]:
        return [b"its last words"]


def _ends(restarts: int) -> dict[str, Any]:
    ended = waits("CrashLoopBackOff", restartCount=restarts, lastState={"terminated": {"exitCode": 1}})
    return {
        "metadata": {"name": "a", "namespace": "airflow", "uid": "1", "labels": {"app": "scheduler"}},
        "spec": {},
        "status": {"phase": "Running", "containerStatuses": [ended]},
    }


def _wait(*pods: dict[str, Any]) -> None:
    ReadyWait(Told(*pods), "airflow", [Workload("Deployment", "scheduler")]).run(30)  # type: ignore[arg-type]


def test_a_pod_that_keeps_ending_fails_the_wait_at_once() -> None:
    with pytest.raises(PodFailed, match="is in CrashLoopBackOff: exit code 1, 2 restarts") as failed:
        _wait(_ends(0), _ends(2))
    assert failed.value.detail == "its last words"


def test_a_pod_that_kept_ending_before_the_wait_is_given_time() -> None:
    ready = _running("a", "2026-01-01T10:00:00Z")
    ready["metadata"]["uid"] = "1"  # type: ignore[index]
    _wait(_ends(2), ready)
