"""The state of one workload, from the cluster's own objects."""

from __future__ import annotations

from devenv.backends.base import Component, Health
from devenv.cluster.objects import Object, Objects, component_of
from devenv.platform.waiting import Workload, diagnose, is_ready


def component_status(workload: Object, pods: Objects) -> Component:
    """A workload and its pods as one line."""
    selector = workload["spec"]["selector"].get("matchLabels") or {}
    own = [
        pod
        for pod in pods
        if all((pod["metadata"].get("labels") or {}).get(key) == value for key, value in selector.items())
    ]
    statuses = [status for pod in own for status in pod["status"].get("containerStatuses") or []]
    waits = [(pod, waiting) for pod in own if (waiting := diagnose(pod)) is not None]
    health: Health = "running"
    detail = ""
    if int(workload["spec"].get("replicas", 1)) == 0:
        health = "stopped"
    elif not is_ready(workload):
        health = "failed" if any(waiting.fatal for _, waiting in waits) else "starting"
        detail = "; ".join(dict.fromkeys(waiting.text for _, waiting in waits)) or "waits for its pod"
    containers = workload["spec"]["template"]["spec"]["containers"]
    return Component(
        name=component_of(workload) or workload["metadata"]["name"],
        health=health,
        detail=detail,
        restarts=sum(int(status.get("restartCount") or 0) for status in statuses),
        since=max((_ready_since(pod) for pod in own), default=0.0),
        image=str(containers[0]["image"]),
    )


def _ready_since(pod: Object) -> float:
    """When a pod's readiness last changed, in seconds since the epoch."""
    from datetime import datetime

    for condition in pod["status"].get("conditions") or []:
        if condition["type"] == "Ready" and condition.get("lastTransitionTime"):
            return datetime.fromisoformat(str(condition["lastTransitionTime"]).replace("Z", "+00:00")).timestamp()
    return 0.0


def waited(item: Object) -> Workload:
    """An object as something to wait for."""
    return Workload(item["kind"], item["metadata"]["name"])


def images_of(item: Object) -> list[str]:
    """The images that a workload's pods run."""
    spec = item.get("spec", {}).get("template", {}).get("spec", {})
    containers = (spec.get("initContainers") or []) + (spec.get("containers") or [])
    return list(dict.fromkeys(container["image"] for container in containers))
