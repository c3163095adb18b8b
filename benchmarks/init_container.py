"""What the init container `secrets` adds to a task pod's start: pods with it and without it, in turns.

    python benchmarks/init_container.py [--context devenv] [--namespace airflow] [--pods 20]

needs an environment that is up. Measured from the request to the moment when the pod's own container runs, which it
prints; the same image and volumes in both. The kubelet looks once a second which containers have ended, so requests
come at random moments: one after the other, they would all meet the same moment of that second.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from devenv.cluster.connection import Cluster
from devenv.environment import Environment
from tests.support.volume import running_profile

IMAGE = "apache/airflow:2.7.2"


def pod(name: str, namespace: str, *, fetches: bool) -> dict[str, Any]:
    """A task pod that does nothing."""
    common = {"image": IMAGE, "imagePullPolicy": "IfNotPresent"}
    mount = {"name": "etc-airflow", "mountPath": "/etc/airflow"}
    variables = {"VAULT_ADDR": "http://vault:8200", "DEVENV_COMPONENT": "task", "PYTHONDONTWRITEBYTECODE": "1"}
    init = {
        **common,
        "name": "secrets",
        "command": ["dumb-init", "--", "python", "/devenv/programs/fetch_secrets.py"],
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "volumeMounts": [mount, {"name": "programs", "mountPath": "/devenv/programs"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "serviceAccountName": "task",
            "restartPolicy": "Never",
            "enableServiceLinks": False,
            "securityContext": {"runAsUser": 50000, "runAsGroup": 0, "fsGroup": 0},
            "initContainers": [init] if fetches else [],
            "containers": [{**common, "name": "base", "command": ["date", "+%s.%N"], "volumeMounts": [mount]}],
            "volumes": [
                {"name": "etc-airflow", "emptyDir": {"medium": "Memory"}},
                {"name": "programs", "configMap": {"name": "task-programs"}},
            ],
        },
    }


def seconds(cluster: Cluster, namespace: str, name: str, *, fetches: bool) -> float:
    """From the request to the container's start (of which only differences mean something: the clock is the node's)."""
    time.sleep(random.uniform(0.0, 1.0))
    start = time.time()
    cluster.apply([pod(name, namespace, fetches=fetches)])
    for _event, item in cluster.watch("Pod", namespace, fields=f"metadata.name={name}", timeout=120):
        phase = item["status"].get("phase")
        if phase in ("Succeeded", "Failed"):
            said = b"".join(cluster.logs(name, namespace, "base")) if phase == "Succeeded" else b""
            cluster.delete("Pod", name, namespace, grace_seconds=0)
            if phase == "Failed":
                raise SystemExit(f"{name} failed: {item['status']}")
            return float(said) - start
    raise SystemExit(f"{name} did not end")


def main() -> None:
    """Prints both and their difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", help="without it, the first minikube profile that runs")
    parser.add_argument("--namespace", default="airflow")
    parser.add_argument("--pods", type=int, default=20)
    given = parser.parse_args()
    context = given.context or running_profile()
    cluster = Cluster.open(context, Environment())
    if cluster.get("ConfigMap", "task-programs", given.namespace) is None:
        pytest.skip(f"there is no environment of devenv in the namespace {given.namespace} of {context}")
    took: dict[bool, list[float]] = {True: [], False: []}
    for number in range(given.pods):
        for fetches in (False, True):
            name = f"benchmark-{number}-{'with' if fetches else 'without'}"
            took[fetches].append(seconds(cluster, given.namespace, name, fetches=fetches))
    for fetches, label in ((False, "without"), (True, "with")):
        values = took[fetches]
        middle, mean, longest = statistics.median(values), statistics.mean(values), max(values)
        print(f"{label:8} init container: median {middle:.2f} s, mean {mean:.2f} s, max {longest:.2f} s")
    median, mean = (kind(took[True]) - kind(took[False]) for kind in (statistics.median, statistics.mean))
    print(f"added: median {median:.2f} s, mean {mean:.2f} s (n={given.pods})")


if __name__ == "__main__":
    try:
        main()
    except pytest.skip.Exception as reason:
        print(f"skipped: {reason}")
