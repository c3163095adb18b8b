"""What the init container `secrets` adds to a task pod's start: pods with it and without it, in turns.

    python benchmarks/init_container.py --context devenv --namespace airflow [--pods 10]

needs an environment that is up. Measured from the request to the moment when the pod's only container has ended, as
a watch tells it; the same image and volumes in both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from devenv.cluster.connection import Cluster
from devenv.environment import Environment

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
            "containers": [{**common, "name": "base", "command": ["true"], "volumeMounts": [mount]}],
            "volumes": [
                {"name": "etc-airflow", "emptyDir": {"medium": "Memory"}},
                {"name": "programs", "configMap": {"name": "task-programs"}},
            ],
        },
    }


def seconds(cluster: Cluster, namespace: str, name: str, *, fetches: bool) -> float:
    """From the request to the end of the container."""
    start = time.monotonic()
    cluster.apply([pod(name, namespace, fetches=fetches)])
    for _event, item in cluster.watch("Pod", namespace, fields=f"metadata.name={name}", timeout=120):
        phase = item["status"].get("phase")
        if phase in ("Succeeded", "Failed"):
            took = time.monotonic() - start
            cluster.delete("Pod", name, namespace, grace_seconds=0)
            if phase == "Failed":
                raise SystemExit(f"{name} failed: {item['status']}")
            return took
    raise SystemExit(f"{name} did not end")


def main() -> None:
    """Prints both medians and their difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", required=True)
    parser.add_argument("--namespace", default="airflow")
    parser.add_argument("--pods", type=int, default=10)
    given = parser.parse_args()
    cluster = Cluster.open(given.context, Environment())
    took: dict[bool, list[float]] = {True: [], False: []}
    for number in range(given.pods):
        for fetches in (False, True):
            name = f"benchmark-{number}-{'with' if fetches else 'without'}"
            took[fetches].append(seconds(cluster, given.namespace, name, fetches=fetches))
    for fetches, label in ((False, "without"), (True, "with")):
        values = took[fetches]
        print(f"{label:8} init container: median {statistics.median(values):.2f} s, max {max(values):.2f} s")
    added = statistics.median(took[True]) - statistics.median(took[False])
    print(f"added: {added:.2f} s (n={given.pods})")


if __name__ == "__main__":
    main()
