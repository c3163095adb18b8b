"""How long a scheduler is away that was killed, while the others go on.

    python benchmarks/killed_scheduler.py [--context devenv] [--namespace airflow] [--times 5]

needs an environment on a cluster that is up `--with ha`. From the kill to the moment when as many schedulers are Ready
as before, the killed container not among them. The two ways take turns, on the same pod: Kubernetes starts a container
at once when it has died for the first time, and waits before the second; a deleted pod is replaced by one that begins
with its init containers.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from devenv.cluster.connection import Cluster
from devenv.environment import Environment
from tests.support.volume import running_profile

LABELS = "app.kubernetes.io/component=scheduler"


def ready(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Container → pod, of the schedulers that are Ready."""
    found = {}
    for pod in cluster.list("Pod", namespace, labels=LABELS):
        for status in pod["status"].get("containerStatuses") or []:
            if status.get("ready") and not pod["metadata"].get("deletionTimestamp"):
                found[status["containerID"]] = pod["metadata"]["name"]
    return found


def main() -> None:
    """Prints each time, the median and the longest, per way of killing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", help="without it, the first minikube profile that runs")
    parser.add_argument("--namespace", default="airflow")
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    context, namespace = given.context or running_profile(), given.namespace
    cluster = Cluster.open(context, Environment())
    kubectl = ["kubectl", "--context", context, "--namespace", namespace]
    before = ready(cluster, namespace)
    if len(before) < 2:
        pytest.skip(f"{len(before)} schedulers are ready in {namespace} of {context}; devenv up --with ha")
    name = min(before.values())
    took: dict[str, list[float]] = {"process killed": [], "pod deleted": []}
    for number in range(given.times * 2):
        how = "pod deleted" if number % 2 else "process killed"
        victim = next(container for container, pod in before.items() if pod == name)
        kill = [*kubectl, "exec", name, "-c", "scheduler", "--", "sh", "-c", "kill -KILL -1"]
        delete = [*kubectl, "delete", "pod", name, "--wait=false"]
        start = time.monotonic()
        subprocess.run(delete if number % 2 else kill, capture_output=True, check=bool(number % 2))
        while victim in (after := ready(cluster, namespace)) or len(after) < len(before):
            time.sleep(0.1)
        took[how].append(time.monotonic() - start)
        if number % 2:
            (name,) = set(after.values()) - set(before.values())
        before = after
    for how, times in took.items():
        each = ", ".join(f"{seconds:.1f}" for seconds in times)
        print(f"{how:16} median {statistics.median(times):.1f} s, longest {max(times):.1f} s ({each})")


if __name__ == "__main__":
    try:
        main()
    except pytest.skip.Exception as reason:
        print(f"skipped: {reason}")
