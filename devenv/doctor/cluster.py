"""What lives in the cluster: node, names, pods, images, claims, clock."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from devenv.cluster.objects import Object, Objects, component_of, environment_of
from devenv.doctor.check import Check, Finding, Fix, failure, ok, skipped, warning
from devenv.platform.waiting import diagnose, explain_pending, last_lines, shortage

if TYPE_CHECKING:
    from devenv.cluster.connection import Cluster
    from devenv.platform.waiting import Waiting

CLAIMS = ("airflow-dag-pvc", "airflow-logs", "postgres-data")
"""The claims of the platform (`minikube/base/claims.yaml`)."""
_WORKLOADS = ("Deployment", "StatefulSet")
_SKEW_SECONDS = 30.0
_LEASE_SECONDS = 40.0


def checks(
    open_cluster: Callable[[], Cluster], namespace: str, identifier: str, now: Callable[[], float], *, minikube: bool
) -> list[Check]:
    """The checks of the cluster.

    Args:
        open_cluster: opens it, when a check runs.
        namespace: of the platform.
        identifier: of the environment, as labels carry it.
        now: this machine's clock.
        minikube: whether it is minikube, whose profile is looked at before.
    """
    before = ("context",) if minikube else ()
    cluster = _Once(open_cluster)
    return [
        Check("cluster", "Kubernetes", lambda: answers(cluster()), needs=before),
        Check("node", "Node", lambda: nodes(cluster().list("Node")), needs=("cluster",)),
        Check(
            "clock",
            "Clock",
            lambda: clock(cluster().list("Lease", "kube-node-lease", api_version=_LEASES), now()),
            needs=("cluster",),
        ),
        Check("cluster-dns", "Names in the cluster", lambda: cluster_dns(_dns_pods(cluster())), needs=("cluster",)),
        Check("namespace", "Namespace", lambda: namespace_state(cluster(), namespace, identifier), needs=("cluster",)),
        Check(
            "claims", "Claims", lambda: claims(cluster().list("PersistentVolumeClaim", namespace)), needs=("namespace",)
        ),
        Check("images", "Images", lambda: images(cluster().list("Pod", namespace)), needs=("namespace",)),
        Check("workloads", "Workloads", lambda: workloads(cluster(), namespace), needs=("namespace",)),
        Check("pods", "Pods", lambda: pods(cluster(), namespace), needs=("namespace",)),
        Check("tasks", "Task pods", lambda: task_pods(cluster(), namespace), needs=("namespace",)),
    ]


_LEASES = "coordination.k8s.io/v1"


class _Once:
    """A cluster that is opened with the first check that wants it."""

    def __init__(self, open_cluster: Callable[[], Cluster]) -> None:
        self._open = open_cluster
        self._cluster: Cluster | None = None

    def __call__(self) -> Cluster:
        if self._cluster is None:
            self._cluster = self._open()
        return self._cluster


def answers(cluster: Cluster) -> Finding:
    """The API server answers and lets us in; an error of the connection is the finding."""
    return ok(f"{cluster.context}, {cluster.version()}")


def nodes(found: Objects) -> Finding:
    """The node is ready and under no pressure."""
    for node in found:
        name = node["metadata"]["name"]
        conditions = {item["type"]: item for item in (node.get("status") or {}).get("conditions") or []}
        pressures = {
            "DiskPressure": ("disk", "docker system prune, or minikube ssh -- sudo crictl rmi --prune"),
            "MemoryPressure": ("memory", "raise [minikube] memory, or end pods"),
            "PIDPressure": ("process ids", "end pods"),
        }
        for kind, (what, remedy) in pressures.items():
            if conditions.get(kind, {}).get("status") == "True":
                return failure(f"the node {name} is short of {what}: pods are being evicted", remedy)
        ready = conditions.get("Ready", {})
        if ready.get("status") != "True":
            return failure(
                f"the node {name} is not ready: {ready.get('message') or 'it has not said why'}", "devenv up"
            )
        if (node.get("spec") or {}).get("unschedulable"):
            return failure(f"the node {name} takes no pods", f"kubectl uncordon {name}")
    return ok(", ".join(node["metadata"]["name"] for node in found)) if found else failure("the cluster has no node")


def clock(leases: Objects, now: float) -> Finding:
    """The node's clock against this machine's, by the leases that kubelets renew every ten seconds."""
    renewed = [_moment(str((lease.get("spec") or {}).get("renewTime") or "")) for lease in leases]
    newest = max((moment for moment in renewed if moment), default=0.0)
    if not newest:
        return skipped("no node has renewed its lease")
    ahead = newest - now
    if ahead > _SKEW_SECONDS:
        return warning(
            f"the cluster's clock is {ahead:.0f} s ahead of this machine's",
            "set this machine's clock; devenv itself compares contents, not times",
        )
    if -ahead > _LEASE_SECONDS + _SKEW_SECONDS:
        return warning(
            f"the cluster's clock is {-ahead - 10:.0f} s behind this machine's, as after sleep",
            "minikube stop, then devenv up   sets it",
        )
    return ok("in step")


def cluster_dns(found: Objects) -> Finding:
    """CoreDNS runs: without it pods find neither Vault nor Postgres."""
    ready = [pod for pod in found if diagnose(pod) is None]
    if ready:
        return ok("CoreDNS")
    remedy = "kubectl -n kube-system rollout restart deployment coredns"
    if not found:
        return failure("CoreDNS does not run: pods cannot find each other", remedy)
    waiting = diagnose(found[0])
    return failure(f"CoreDNS is not ready: {waiting.text if waiting else ''}", remedy)


def _dns_pods(cluster: Cluster) -> Objects:
    return cluster.list("Pod", "kube-system", labels="k8s-app=kube-dns")


def namespace_state(cluster: Cluster, namespace: str, identifier: str) -> Finding:
    """The namespace exists, is ours, and is not being removed."""
    found = cluster.get("Namespace", namespace)
    if found is None:
        return failure(f"there is no namespace {namespace}: nothing was set up yet", "devenv up")
    if (found.get("status") or {}).get("phase") == "Terminating":
        return failure(
            f"the namespace {namespace} is being removed", f"kubectl get namespace {namespace} -o yaml says what for"
        )
    owner = environment_of(found)
    if owner and owner != identifier:
        return failure(
            f"the namespace {namespace} belongs to the environment {owner}",
            'set another: namespace = "NAME" under [kubernetes] in devenv.toml',
        )
    return ok(namespace)


def claims(found: Objects) -> Finding:
    """The claims are there and bound."""
    by_name = {claim["metadata"]["name"]: claim for claim in found}
    missing = [name for name in CLAIMS if name not in by_name]
    if missing:
        return failure(
            f"gone: {', '.join(missing)}; pods that mount it do not start",
            "devenv up   makes it anew and sends every DAG file again",
        )
    for name, claim in by_name.items():
        if claim["metadata"].get("deletionTimestamp"):
            return failure(
                f"the claim {name} is being deleted, as soon as no pod uses it", "devenv down, then devenv up"
            )
        phase = (claim.get("status") or {}).get("phase")
        if phase == "Lost":
            return failure(f"the claim {name} has lost its volume", "devenv destroy, then devenv up")
        if phase != "Bound":
            return failure(
                f"the claim {name} is {str(phase).lower()}: no storage class serves it",
                "devenv up   brings minikube's own back; elsewhere, set [kubernetes] storage_class",
            )
    return ok(", ".join(CLAIMS))


def images(found: Objects) -> Finding:
    """Every pod's image is there, or can be pulled."""
    for pod in found:
        waiting = diagnose(pod)
        if waiting is not None and waiting.text.startswith("image "):
            text, _, detail = waiting.text.partition("\n")
            return failure(f"{component_of(pod)}: {text}", waiting.hint, detail=detail)
    return ok(f"{len({image for pod in found for image in _images(pod)})} in use")


def workloads(cluster: Cluster, namespace: str) -> Finding:
    """Nothing was scaled down to no pod."""
    stopped = [
        (kind, item["metadata"]["name"])
        for kind in _WORKLOADS
        for item in cluster.list(kind, namespace)
        if int((item.get("spec") or {}).get("replicas", 1)) == 0
    ]
    if not stopped:
        return ok("none is scaled down")

    def scale_up() -> None:
        for kind, name in stopped:
            cluster.merge(kind, name, namespace, {"spec": {"replicas": 1}})

    names = ", ".join(name for _kind, name in stopped)
    return failure(f"scaled to zero replicas: {names}", "devenv up", fix=Fix(f"scale {names} up to one pod", scale_up))


def pods(cluster: Cluster, namespace: str) -> Finding:
    """The platform's pods are ready; otherwise why not, with the last lines of a crash."""
    found = [pod for pod in cluster.list("Pod", namespace) if component_of(pod) not in ("", "task")]
    if not found:
        return failure(f"no pod runs in {namespace}", "devenv up")
    ill = [(pod, waiting) for pod in found if (waiting := diagnose(pod)) is not None]
    ill.sort(key=lambda pair: not pair[1].fatal)
    if ill:
        pod, waiting = ill[0]
        return _ill_pod(cluster, namespace, pod, waiting, others=len(ill) - 1)
    restarted = [f"{component_of(pod)} {_restarts(pod)} times" for pod in found if _restarts(pod) >= 3]
    if restarted:
        return warning(f"restarted: {', '.join(restarted)}", "devenv logs COMPONENT   shows what it wrote before")
    return ok(f"{len(found)} ready")


def _ill_pod(cluster: Cluster, namespace: str, pod: Object, waiting: Waiting, *, others: int) -> Finding:
    name, component = pod["metadata"]["name"], component_of(pod)
    text, _, detail = waiting.text.partition("\n")
    if waiting.container:
        detail = last_lines(cluster, pod, waiting.container, previous=waiting.previous)
    if "not enough" in text:
        text = f"{text}: {shortage(cluster, pod)}"
    more = f" (and {others} more pods)" if others else ""
    ended = (pod.get("status") or {}).get("phase") == "Failed" or waiting.crashed
    fix = None
    if ended and pod["metadata"].get("ownerReferences"):
        fix = Fix(f"delete the pod {name}, which is then created again", lambda: _delete(cluster, namespace, name))
    say = failure if waiting.fatal or waiting.container else warning
    return say(f"{component}: {text}{more}", waiting.hint or f"devenv logs {component}", detail=detail, fix=fix)


def task_pods(cluster: Cluster, namespace: str) -> Finding:
    """No task's pod waits for more cpu or memory than there is."""
    waiting = [
        pod
        for pod in cluster.list("Pod", namespace, fields="status.phase=Pending")
        if component_of(pod) == "task" and diagnose(pod) is not None
    ]
    if not waiting:
        return ok("none waits")
    pod = waiting[0]
    name = pod["metadata"]["name"]
    events = cluster.list("Event", namespace, fields=f"involvedObject.name={name}")
    cause = diagnose(pod)
    why = explain_pending(pod, events, short=shortage(cluster, pod))
    return warning(
        f"{name} waits: {why}" + (f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""),
        cause.hint if cause is not None and cause.hint else f"kubectl describe pod {name}",
    )


def _delete(cluster: Cluster, namespace: str, name: str) -> None:
    cluster.delete("Pod", name, namespace)


def _images(pod: Object) -> Sequence[str]:
    return [str(item.get("image", "")) for item in (pod.get("spec") or {}).get("containers") or []]


def _restarts(pod: Object) -> int:
    return sum(int(item.get("restartCount") or 0) for item in (pod.get("status") or {}).get("containerStatuses") or [])


def _moment(text: str) -> float:
    """Seconds since the epoch of `2026-11-22T06:23:38.993709Z`."""
    text = re.sub(r"\.(\d{1,6})\d*", lambda part: "." + part[1].ljust(6, "0"), text).replace("Z", "+00:00")
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
