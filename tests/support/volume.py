"""A namespace on a real minikube with the DAG claim, a pod that writes into it and a pod that only reads."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import yaml

from devenv.agent_program import agent_command
from devenv.cluster.connection import Cluster
from devenv.cluster.errors import ClusterError
from devenv.cluster.exec import exec_duplex, run_in_pod
from devenv.cluster.kubectl import KubectlDuplex, kubectl_command
from devenv.duplex import DuplexClosed
from devenv.environment import Environment
from devenv.resources import platform_folder
from devenv.settings.schema import ImageSettings
from devenv.sync.model import Capabilities, Listener, Target, TargetLost
from devenv.sync.targets.agent import AgentOptions, AgentTarget, Owner
from devenv.sync.targets.configmap import ConfigMapTarget
from devenv.sync.targets.kubectl_cp import KubectlCopyTarget

from .conformance import Held

IMAGE = "apache/airflow:2.7.2"
OWNER = Owner("sync-test-0a1b2c3d", "laptop", "ada", "/project")

_TREE = """
import hashlib, json, os, sys
found = {}
for folder, folders, files in os.walk("/opt/airflow/dags", followlinks=False):
    for name in folders + files:
        path = os.path.join(folder, name)
        relative = "dags/" + os.path.relpath(path, "/opt/airflow/dags")
        if os.path.isdir(path):
            found[relative] = ["folder", False]
            continue
        try:
            with open(path, "rb") as stream:
                found[relative] = [hashlib.sha256(stream.read()).hexdigest(), bool(os.stat(path).st_mode & 0o100)]
        except FileNotFoundError:  # renamed into place, or removed, just now: it is looked at again
            found[relative] = ["gone", False]
print(json.dumps(found))
"""


_OWN_PROFILE = "devenv-tests"


def running_profile() -> str:
    """A running minikube profile: `DEVENV_TEST_CONTEXT`, or the first one; where there is none, one for this run."""
    if not shutil.which("minikube"):
        pytest.skip("minikube is not on PATH")
    if named := os.environ.get("DEVENV_TEST_CONTEXT"):
        return named
    command = ["minikube", "profile", "list", "--light", "-o", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    names = [profile["Name"] for profile in json.loads(listed or "{}").get("valid", [])]
    if not names:
        # A test that is run alone, or again, finds none: an environment of another test made it the first time.
        subprocess.run(["minikube", "start", "--profile", _OWN_PROFILE, "--memory", "5g"], check=True)
        atexit.register(subprocess.run, ["minikube", "delete", "--profile", _OWN_PROFILE], check=False)
        for image in ("apache/airflow:2.7.2", "postgres:15", ImageSettings().vault):
            subprocess.run(["minikube", "image", "load", "--profile", _OWN_PROFILE, image], check=True)
        return _OWN_PROFILE
    return str(names[0])


def wait_for(look: Callable[[], Any], what: str, seconds: float = 300) -> Any:
    """The first true answer; errors of the platform count as not yet."""
    end = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < end:
        try:
            if last := look():
                return last
        except (ClusterError, OSError, TargetLost, DuplexClosed, ValueError) as error:
            last = error
        time.sleep(0.3)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s; last seen: {last!r}")


def _pod(name: str, volumes: list[dict[str, Any]], mounts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/component": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "enableServiceLinks": False,
            "securityContext": {"runAsUser": 50000, "runAsGroup": 0, "fsGroup": 0},
            "containers": [
                {
                    "name": name,
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["dumb-init", "--", "sleep", "infinity"],
                    "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
                    "volumeMounts": mounts,
                }
            ],
            "volumes": volumes,
        },
    }


class Volume:
    """A claim in a namespace of its own, made as `minikube/base` makes it: an agent's pod, and one that only reads."""

    def __init__(self, namespace: str, profile: str | None = None) -> None:
        self.profile = profile or running_profile()
        self.namespace = namespace
        self.cluster = Cluster.open(self.profile, Environment())
        self.kubectl = kubectl_command(self.profile, minikube_profile=self.profile)

    def make(self) -> None:
        """Makes the namespace, the claim and both pods, and waits until they run."""
        self._apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        self.make_claim()
        self.make_pod("agent")
        self.make_pod("reader")

    def remove(self) -> None:
        """Removes all of it."""
        with contextlib.suppress(ClusterError):
            self.cluster.delete("Namespace", self.namespace, wait_seconds=120)

    def make_claim(self) -> None:
        """The claim of the DAGs."""
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        self._apply(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "airflow-dag-pvc"}, "spec": spec}
        )

    def make_pod(self, name: str, command: Sequence[str] = ("sleep", "infinity")) -> None:
        """The agent's pod (claim writable at /devenv/claim) or a reader's (folder `dags`, read-only)."""
        volumes = [{"name": "dags", "persistentVolumeClaim": {"claimName": "airflow-dag-pvc"}}]
        read = {"name": "dags", "mountPath": "/opt/airflow/dags", "subPath": "dags", "readOnly": True}
        write = {"name": "dags", "mountPath": "/devenv/claim"}
        pod = _pod(name, volumes, [write, read] if name == "agent" else [read])
        container = pod["spec"]["containers"][0]
        container["command"] = ["dumb-init", "--", *command]
        container["volumeMounts"].append({"name": "results", "mountPath": "/results"})
        volumes.append({"name": "results", "emptyDir": {}})
        self._apply(pod)
        self.wait_running(name)

    def make_configmap_reader(self) -> None:
        """A pod that reads the DAG folder from the ConfigMap, as Airflow's pods do with the component."""
        component = platform_folder() / "components" / "configmap-dags"
        added = yaml.safe_load((component / "containers.yaml").read_text())
        volumes = yaml.safe_load((component / "volumes.yaml").read_text())["spec"]["template"]["spec"]["volumes"]
        volumes = [{key: value for key, value in volume.items() if value is not None} for volume in volumes]
        program = {"unpack_dags.py": (component / "unpack_dags.py").read_text()}
        self._apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "programs"}, "data": program})
        volumes.append({"name": "programs", "configMap": {"name": "programs"}})
        mount = {"name": "dags", "mountPath": "/opt/airflow/dags", "subPath": "dags", "readOnly": True}
        pod = _pod("mounts-configmap", volumes, [mount])
        pod["spec"]["initContainers"] = [added[0]["value"]]
        pod["spec"]["containers"].append(added[1]["value"])
        self._apply(pod)
        self.wait_running("mounts-configmap")

    def wait_running(self, name: str, seconds: float = 300) -> None:
        """Waits until a pod runs."""

        def running() -> bool:
            pod = self.cluster.get("Pod", name, self.namespace)
            statuses = (pod or {}).get("status", {}).get("containerStatuses") or []
            return bool(statuses) and all(status.get("ready") for status in statuses)

        wait_for(running, f"pod {name} running", seconds)

    def delete_pod(self, name: str) -> None:
        """Kills a pod, as an eviction does."""
        self.cluster.delete("Pod", name, self.namespace, wait_seconds=60)

    def run(self, pod: str, command: Sequence[str], stdin: bytes = b"") -> bytes:
        """Runs a program in a pod and gives back its output."""
        container = pod if pod == "mounts-configmap" else ""  # the one that has a second
        code, output, words = run_in_pod(self.cluster, self.namespace, pod, container, command, stdin=stdin)
        assert code == 0, words
        return output

    def held(self, pod: str = "reader") -> Held:
        """What the pod that only reads finds in its DAG folder."""
        found = json.loads(self.run(pod, ["python3", "-c", _TREE]))
        return {path: (digest, executable) for path, (digest, executable) in found.items()}

    def empty(self) -> None:
        """Empties the claim, the agent's state included."""
        self.run("agent", ["sh", "-c", "cd /devenv/claim && rm -rf dags/* dags/.[!.]* .devenv"])

    def open_agent(self, listener: Listener, *, kubectl: bool = False, owner: Owner = OWNER, **options: Any) -> Target:
        """A session to the agent, over a WebSocket or over `kubectl exec -i`."""
        settings = AgentOptions(**{"claim": "/devenv/claim", "airflow": "/opt/airflow", "verdicts": False} | options)

        def websocket() -> Any:
            try:
                return exec_duplex(self.cluster, self.namespace, "agent", "agent", agent_command())
            except ClusterError as error:
                raise DuplexClosed(error.message) from error

        def program() -> Any:
            return KubectlDuplex(self.kubectl, self.namespace, "agent", "agent", agent_command())

        return AgentTarget(program if kubectl else websocket, listener, owner, ["dags"], settings)

    def _apply(self, item: dict[str, Any]) -> None:
        if item["kind"] != "Namespace":
            item["metadata"]["namespace"] = self.namespace
        self.cluster.apply([item])


class OverWebSocket:
    """The agent over the API's WebSocket."""

    capabilities = Capabilities()

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        volume.empty()

    def open(self, listener: Listener) -> Target:
        return self.volume.open_agent(listener)

    def held(self) -> Held:
        return self.volume.held()


class OverKubectlExec(OverWebSocket):
    """The agent over `kubectl exec -i`."""

    def open(self, listener: Listener) -> Target:
        return self.volume.open_agent(listener, kubectl=True)


class OverKubectlCopy(OverWebSocket):
    """`kubectl cp`."""

    def open(self, listener: Listener) -> Target:
        volume = self.volume
        return KubectlCopyTarget(volume.kubectl, volume.namespace, lambda: "agent", "agent", OWNER, roots=["dags"])


class InConfigMap:
    """A ConfigMap, mounted in a pod; the suite waits for the kubelet."""

    capabilities = ConfigMapTarget.capabilities

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        volume.cluster.delete("ConfigMap", "airflow-dags", volume.namespace)

    def open(self, listener: Listener) -> Target:
        return ConfigMapTarget(self.volume.cluster, self.volume.namespace, OWNER.environment, ["dags"])

    def held(self) -> Held:
        """What the ConfigMap holds; that the kubelet shows it is a test of its own."""
        target = ConfigMapTarget(self.volume.cluster, self.volume.namespace, OWNER.environment, ["dags"])
        return {path: (entry.digest or "folder", entry.executable) for path, entry in target.manifest().items()}


@contextlib.contextmanager
def volume_in(namespace: str) -> Iterator[Volume]:
    """A volume for the time of a `with`."""
    volume = Volume(namespace)
    volume.make()
    try:
        yield volume
    finally:
        volume.remove()
