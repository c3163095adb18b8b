"""Faults of a real cluster, injected and found; what `--fix` may do."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from devenv.cluster.connection import Cluster
from devenv.doctor import cluster as doctor
from devenv.environment import Environment
from tests.support.volume import running_profile

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

IMAGE = "postgres:15"


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster.open(running_profile(), Environment())


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    name = f"devenv-doctor-{uuid.uuid4().hex[:8]}"
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
    yield name
    cluster.delete("Namespace", name)


def pod(namespace: str, component: str, script: str = "sleep 600", image: str = IMAGE, **spec: Any) -> dict[str, Any]:
    container = {
        "name": component,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["bash", "-c", script],
    }
    container |= spec.pop("container", {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{component}-0",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/component": component},
        },
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [container], **spec},
    }


def wait(cluster: Cluster, namespace: str, what: Any, kind: str = "Pod") -> None:
    for _event, item in cluster.watch(kind, namespace, timeout=240):
        if what(item):
            return
    raise AssertionError("it did not happen")


def container_state(item: dict[str, Any]) -> dict[str, Any]:
    statuses = (item.get("status") or {}).get("containerStatuses") or [{}]
    return statuses[0].get("state") or {}


def test_a_healthy_cluster(cluster: Cluster) -> None:
    import time

    checks = doctor.checks(lambda: cluster, "default", "nobody", time.time, minikube=False)
    found = {check.name: check.run() for check in checks if check.name in ("cluster", "node", "clock", "cluster-dns")}
    assert {name: finding.level for name, finding in found.items()} == {
        "cluster": "ok",
        "node": "ok",
        "clock": "ok",
        "cluster-dns": "ok",
    }


def test_a_pod_that_keeps_crashing_shows_its_last_lines(cluster: Cluster, namespace: str) -> None:
    cluster.apply([pod(namespace, "triggerer", "echo cannot import airflow; exit 3")])
    wait(cluster, namespace, lambda item: container_state(item).get("waiting", {}).get("reason") == "CrashLoopBackOff")
    found = doctor.pods(cluster, namespace)
    assert "triggerer: container triggerer is in CrashLoopBackOff: exit code 3" in found.cause
    assert found.detail == "cannot import airflow"


def test_an_image_that_is_not_there(cluster: Cluster, namespace: str) -> None:
    cluster.apply([pod(namespace, "scheduler", image="devenv.invalid/none:1")])
    reasons = ("ErrImagePull", "ImagePullBackOff")
    wait(cluster, namespace, lambda item: container_state(item).get("waiting", {}).get("reason") in reasons)
    found = doctor.images(cluster.list("Pod", namespace))
    assert found.level == "failure"
    assert "image devenv.invalid/none:1" in found.cause
    assert "docker pull devenv.invalid/none:1" in found.remedy


def test_a_task_pod_that_asks_for_more_than_there_is(cluster: Cluster, namespace: str) -> None:
    greedy = {"resources": {"requests": {"cpu": "64", "memory": "1Ti"}}}
    cluster.apply([pod(namespace, "task", container=greedy)])
    wait(cluster, namespace, lambda item: (item.get("status") or {}).get("conditions"))
    found = doctor.task_pods(cluster, namespace)
    assert found.level == "warning"
    assert "needs 64000m cpu" in found.cause
    assert "1048576Mi memory" in found.cause


def test_claims_that_are_missing_waiting_and_being_deleted(cluster: Cluster, namespace: str) -> None:
    assert "airflow-dag-pvc" in doctor.claims(cluster.list("PersistentVolumeClaim", namespace)).cause

    def claim(name: str, **spec: Any) -> dict[str, Any]:
        asked = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, **spec}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": asked,
        }

    first, *others = doctor.CLAIMS
    cluster.apply([claim(first, storageClassName="none-such"), *(claim(name) for name in others)])
    assert f"{first} is pending" in doctor.claims(cluster.list("PersistentVolumeClaim", namespace)).cause
    cluster.delete("PersistentVolumeClaim", first, namespace, wait_seconds=30)
    mounting = pod(namespace, "scheduler", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": first}}])
    cluster.apply([claim(first), mounting])
    wait(cluster, namespace, lambda item: "running" in container_state(item))
    assert doctor.claims(cluster.list("PersistentVolumeClaim", namespace)).level == "ok"
    cluster.delete("PersistentVolumeClaim", first, namespace)
    assert f"{first} is being deleted" in doctor.claims(cluster.list("PersistentVolumeClaim", namespace)).cause


def test_a_workload_scaled_to_nothing_is_scaled_up_by_fix(cluster: Cluster, namespace: str) -> None:
    labels = {"app.kubernetes.io/component": "scheduler"}
    template = pod(namespace, "scheduler")
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "scheduler", "namespace": namespace},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
        },
    }
    cluster.apply([deployment])
    found = doctor.workloads(cluster, namespace)
    assert "scheduler" in found.cause
    assert found.fix is not None
    assert "no pod runs" in doctor.pods(cluster, namespace).cause
    found.fix.apply()
    wait(cluster, namespace, lambda item: (item.get("status") or {}).get("readyReplicas") == 1, "Deployment")
    assert doctor.workloads(cluster, namespace).level == "ok"
    assert doctor.pods(cluster, namespace).level == "ok"


def test_a_namespace_that_is_missing_somebodys_or_going(cluster: Cluster, namespace: str) -> None:
    assert doctor.namespace_state(cluster, "devenv-none-such", "me").remedy == "devenv up"
    labels = {"metadata": {"labels": {"devenv.io/environment": "shop-1"}}}
    cluster.merge("Namespace", namespace, None, labels)
    assert "belongs to the environment shop-1" in doctor.namespace_state(cluster, namespace, "me").cause
    assert doctor.namespace_state(cluster, namespace, "shop-1").level == "ok"
    cluster.apply(
        [
            {
                **pod(namespace, "scheduler"),
                "metadata": {"name": "kept", "namespace": namespace, "finalizers": ["devenv.io/test"]},
            }
        ]
    )
    cluster.delete("Namespace", namespace)
    assert "being removed" in doctor.namespace_state(cluster, namespace, "shop-1").cause
    cluster.merge("Pod", "kept", namespace, {"metadata": {"finalizers": []}})
