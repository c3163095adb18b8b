"""A ConfigMap as a target, for charts that mount one in place of a volume.

There is one ConfigMap per synced folder, `airflow-dags` for the DAG folder, its keys being the file names. It cannot
hold folders within the folder, executable files, or more than 1 MiB in all; what does not fit is refused before
anything is sent. A pod sees a change when its kubelet next looks, which can take 90 s
(https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically); a changed
annotation on the pods that mount it makes their kubelet look at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from devenv.cluster.errors import ClusterUnreachable
from devenv.cluster.objects import ENVIRONMENT_LABEL, MANAGED_BY_LABEL, environment_of
from devenv.errors import RefusedError
from devenv.sync.model import Ack, Batch, Capabilities, Entry, Manifest, SchedulerReport, TargetLost

_LIMIT = 1 << 20
"""`MaxSecretSize` of the API server, which also holds for ConfigMaps: the sum of the values' bytes."""
_ANNOTATION = "devenv.io/synced"


class ForeignConfigMap(RefusedError):
    """A ConfigMap of that name exists and this environment did not make it; it is not overwritten.

    Remove it if nobody needs it, or set another namespace: `[kubernetes] namespace`.
    """

    code = "DEVENV-527"


class Objects(Protocol):
    """What of a cluster is needed here; `devenv.cluster.connection.Cluster` has it."""

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """An object, or None."""

    def list(self, kind: str, namespace: str | None = None) -> Sequence[dict[str, Any]]:
        """The objects of a kind."""

    def apply(self, objects: Iterable[dict[str, Any]], *, owner: str = "") -> object:
        """Server-side apply."""

    def merge(self, kind: str, name: str, namespace: str | None, patch: dict[str, Any]) -> object:
        """A JSON merge patch."""


class ConfigMapTarget:
    """See `devenv.sync.model.Target`.

    Args:
        cluster: where.
        namespace: of the ConfigMaps and of the pods that mount them.
        environment: `Project.identifier`, the label's value.
        roots: names of the synced folders.
    """

    name: str = "ConfigMap"
    capabilities: Capabilities = Capabilities(
        empty_folders=False,
        executable=False,
        nested=False,
        any_name=False,
        max_total_bytes=_LIMIT,
        note="a ConfigMap reaches the pods when their kubelet looks: up to 90 s after a save, mostly a few",
    )

    def __init__(
        self,
        cluster: Objects,
        namespace: str,
        environment: str,
        roots: Sequence[str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._environment = environment
        self._held: dict[str, dict[str, bytes]] = {root: {} for root in roots}
        self._now = now

    def manifest(self) -> Manifest:
        """What the ConfigMaps hold.

        Raises:
            ForeignConfigMap: one is somebody else's.
            TargetLost: the cluster does not answer.
        """
        entries: dict[str, Entry] = {}
        for root in self._held:
            self._held[root] = self._read(root)
            for key, content in self._held[root].items():
                path = f"{root}/{key}"
                entries[path] = Entry(path, "file", hashlib.sha256(content).hexdigest(), len(content))
        return entries

    def apply(self, batch: Batch) -> Sequence[Ack]:
        """One write per ConfigMap; the kubelet shows all of it or nothing."""
        wanted = {root: dict(content) for root, content in self._held.items()}
        acks: list[Ack] = []
        for put in batch.puts:
            content = put.read()
            if hashlib.sha256(content).hexdigest() != put.entry.digest:
                acks.append(Ack(put.entry.path, ok=False, error="it changed while it was sent", reason="changed"))
                continue
            root, _, key = put.entry.path.partition("/")
            wanted[root][key] = content
            acks.append(Ack(put.entry.path, ok=True))
        for path in batch.deletes:
            root, _, key = path.partition("/")
            wanted[root].pop(key, None)
            acks.append(Ack(path, ok=True))
        for root, files in wanted.items():
            if files != self._held[root]:
                self._write(root, files)
        return acks

    def clock(self) -> float:
        """This machine's: no scheduler is asked."""
        return self._now()

    def scheduler(self) -> SchedulerReport:
        """Nothing is known of it here (`capabilities.scheduler`)."""
        return SchedulerReport()

    def touch(self, paths: Sequence[str]) -> None:
        """The kubelet sets the time of all files at each change; there is nothing to touch."""

    def close(self) -> None:
        """Nothing is held open."""

    def _read(self, root: str) -> dict[str, bytes]:
        try:
            found = self._cluster.get("ConfigMap", f"airflow-{root}", self._namespace)
        except ClusterUnreachable as error:
            raise TargetLost(error.message) from error
        if found is None:
            return {}
        if environment_of(found) != self._environment:
            raise ForeignConfigMap(
                f"the ConfigMap airflow-{root} in namespace {self._namespace} is not of this environment",
                hint=f"kubectl -n {self._namespace} get configmap airflow-{root} --show-labels",
            )
        content = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        content.update((key, _decode(value)) for key, value in (found.get("binaryData") or {}).items())
        return content

    def _write(self, root: str, content: Mapping[str, bytes]) -> None:
        name = f"airflow-{root}"
        wanted = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": self._namespace,
                "labels": {ENVIRONMENT_LABEL: self._environment, MANAGED_BY_LABEL: "devenv"},
            },
            "binaryData": {key: base64.b64encode(value).decode() for key, value in sorted(content.items())},
        }
        try:
            self._cluster.apply([wanted], owner=self._environment)
            self._held[root] = dict(content)
            self._wake_kubelet(name, content)
        except ClusterUnreachable as error:
            raise TargetLost(error.message) from error

    def _wake_kubelet(self, name: str, content: Mapping[str, bytes]) -> None:
        """Changes an annotation of the pods that mount the ConfigMap, so that their kubelet looks at it now."""
        digest = hashlib.sha256(b"".join(hashlib.sha256(value).digest() for value in content.values())).hexdigest()[:16]
        for pod in self._cluster.list("Pod", self._namespace):
            volumes = pod.get("spec", {}).get("volumes") or []
            if any((volume.get("configMap") or {}).get("name") == name for volume in volumes):
                patch = {"metadata": {"annotations": {_ANNOTATION: digest}}}
                self._cluster.merge("Pod", pod["metadata"]["name"], self._namespace, patch)


def _decode(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return b""
