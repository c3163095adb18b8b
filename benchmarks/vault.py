"""How long Vault is away when its pod or its process is killed and no devenv runs.

    python benchmarks/vault.py [--context devenv] [--namespace airflow] [--times 5]

needs an environment that is up on a cluster. From the kill to the moment when another Vault answers that holds the
secrets again and lets a pod's service account log in, as `fetch_secrets.py` does. The two ways take turns: Kubernetes
starts a process that dies again in the same pod after ten seconds, then twenty, but in a new pod at once.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from devenv.cluster.connection import Cluster
from devenv.environment import Environment
from devenv.vault import programs, seeds
from tests.support.volume import running_profile

LABELS = "app.kubernetes.io/component=vault"


def vault_pod(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """Vault's pod that is not on its way out."""
    pods = cluster.list("Pod", namespace, labels=LABELS)
    return next(pod for pod in pods if not pod["metadata"].get("deletionTimestamp"))


def answers(address: str, token: str, account: str, forgotten: str) -> bool:
    """Whether another Vault than the one that holds `forgotten` is whole again."""
    fetch_secrets, seed_vault = programs.load("fetch_secrets"), programs.load("seed_vault")
    vault = fetch_secrets.Vault(address)
    vault.token = token
    try:
        if seed_vault.current(vault, "secret", forgotten) is not None:
            return False
        if seed_vault.current(vault, "secret", seed_vault.MARKER_PATH) is None:
            return False
        status, _ = vault.call("POST", "auth/kubernetes/login", {"role": "task", "jwt": account})
        return bool(status == 200)
    except fetch_secrets.Fault:
        return False
    finally:
        vault.close()


def main() -> None:
    """Prints the median and the longest per way of killing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--context", help="without it, the first minikube profile that runs")
    parser.add_argument("--namespace", default="airflow")
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    context, namespace = given.context or running_profile(), given.namespace
    cluster = Cluster.open(context, Environment())
    kubectl = ["kubectl", "--context", context, "--namespace", namespace]
    secret, service = cluster.get("Secret", seeds.SECRET_NAME, namespace), cluster.get("Service", "vault", namespace)
    if secret is None or service is None:
        pytest.skip(f"there is no Vault of devenv in the namespace {namespace} of {context}")
    token = str(seeds.decode_secret(secret)["generated"]["root_token"])
    node = cluster.list("Node")[0]["status"]["addresses"][0]["address"]
    address = f"http://{node}:{service['spec']['ports'][0]['nodePort']}"
    account = subprocess.run([*kubectl, "create", "token", "task"], capture_output=True, text=True, check=True).stdout
    fetch_secrets, seed_vault = programs.load("fetch_secrets"), programs.load("seed_vault")
    took: dict[str, list[float]] = {"process killed": [], "pod deleted": []}
    for number in range(given.times * 2):
        how = "pod deleted" if number % 2 else "process killed"
        forgotten = f"benchmark/{number}"
        vault = fetch_secrets.Vault(address)
        vault.token = token
        seed_vault.write(vault, "POST", f"secret/data/{forgotten}", {"data": {"KEY": "not in the seeds"}})
        vault.close()
        name = vault_pod(cluster, namespace)["metadata"]["name"]
        kill = [*kubectl, "exec", name, "-c", "vault", "--", "sh", "-c", "kill -TERM 1"]
        command = [*kubectl, "delete", "pod", name, "--wait=false"] if number % 2 else kill
        start = time.monotonic()
        subprocess.run(command, capture_output=True, check=True)
        while not answers(address, token, account.strip(), forgotten):
            time.sleep(0.1)
        took[how].append(time.monotonic() - start)
    for how, times in took.items():
        print(f"{how:16} median {statistics.median(times):.1f} s, longest {max(times):.1f} s (n={given.times})")


if __name__ == "__main__":
    try:
        main()
    except pytest.skip.Exception as reason:
        print(f"skipped: {reason}")
