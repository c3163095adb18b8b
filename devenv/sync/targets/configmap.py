"""A ConfigMap as a target, for charts that mount one in place of a volume.

There is one ConfigMap per synced folder, `airflow-dags` for the DAG folder. A plain file directly in the folder has
its name as its key, as `kubectl create configmap --from-file` makes it, so that any chart can mount it. A key cannot
hold a `/`: what lies in folders, is executable or has other characters in its name has a key from which its path can be
read (`key_of`), and `minikube/components/configmap-dags` unpacks it in Airflow's pods. All of it must stay below 1 MiB;
what does not fit is refused before anything is sent. A pod sees a change when its kubelet next looks, which can take
90 s (https://kubernetes.io/docs/concepts/configuration/configmap/#mounted-configmaps-are-updated-automatically); a
changed annotation on the pods that mount it makes their kubelet look at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple, Protocol

from devenv.agent.frames import safe_parts
from devenv.cluster.errors import ClusterUnreachable
from devenv.cluster.objects import ENVIRONMENT_LABEL, MANAGED_BY_LABEL, environment_of
from devenv.errors import RefusedError
from devenv.sync.model import Ack, Batch, Capabilities, Entry, Manifest, SchedulerReport, TargetLost

_LIMIT = 1 << 20
"""`MaxSecretSize` of the API server, which also holds for ConfigMaps: the sum of the values' bytes."""
_OBJECT_LIMIT = (3 << 19) - (16 << 10)
"""What etcd takes in one request (`--max-request-bytes`, 1.5 MiB), less what else is in the object."""
_KEY_LIMIT = 253
"""The longest key: `validation.DNS1123SubdomainMaxLength`."""
_ENTRY_BYTES = 16
"""What an entry takes besides its content and, twice (once in `managedFields`), its key."""
_PLAIN_KEY = re.compile(r"(?!\.\.)[-._A-Za-z0-9]+(?<!\.devenv)(?<!\.devenv-[xd])")
_SUFFIXES = {".devenv": "file", ".devenv-x": "executable", ".devenv-d": "folder"}
_ANNOTATION = "devenv.io/synced"


class _Item(NamedTuple):
    """What is under a key; `content` is empty for a folder."""

    content: bytes
    executable: bool = False
    is_folder: bool = False


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
        max_total_bytes=_LIMIT,
        max_object_bytes=_OBJECT_LIMIT,
        overhead=lambda entry: 2 * len(_key_of_entry(entry)) + _ENTRY_BYTES,
        unfit=lambda entry: len(_key_of_entry(entry)) > _KEY_LIMIT,
        unfit_reason=f"only paths of at most {_KEY_LIMIT} characters (all but letters, digits, '-', '.' count 3)",
        note="a ConfigMap reaches the pods when their kubelet looks: up to 90 s after a save, mostly at once",
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
        self._held: dict[str, dict[str, _Item]] = {root: {} for root in roots}
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
            for path, item in self._held[root].items():
                whole = f"{root}/{path}"
                if item.is_folder:
                    entries[whole] = Entry(whole, "folder")
                else:
                    digest = hashlib.sha256(item.content).hexdigest()
                    entries[whole] = Entry(whole, "file", digest, len(item.content), executable=item.executable)
        return entries

    def apply(self, batch: Batch) -> Sequence[Ack]:
        """One write per ConfigMap; the kubelet shows all of it or nothing."""
        wanted = {root: dict(items) for root, items in self._held.items()}
        acks: list[Ack] = []
        for put in batch.puts:
            content = put.read()
            if hashlib.sha256(content).hexdigest() != put.entry.digest:
                acks.append(Ack(put.entry.path, ok=False, error="it changed while it was sent", reason="changed"))
                continue
            root, _, path = put.entry.path.partition("/")
            wanted[root][path] = _Item(content, put.entry.executable)
            acks.append(Ack(put.entry.path, ok=True))
        for entry in batch.folders:
            root, _, path = entry.path.partition("/")
            wanted[root][path] = _Item(b"", is_folder=True)
            acks.append(Ack(entry.path, ok=True))
        for entry in batch.modes:
            root, _, path = entry.path.partition("/")
            wanted[root][path] = wanted[root][path]._replace(executable=entry.executable)
            acks.append(Ack(entry.path, ok=True))
        for whole in batch.deletes:
            root, _, path = whole.partition("/")
            wanted[root].pop(path, None)
            acks.append(Ack(whole, ok=True))
        for root, items in wanted.items():
            if items != self._held[root]:
                self._write(root, items)
        return acks

    def clock(self) -> float:
        """This machine's: no scheduler is asked."""
        return self._now()

    def scheduler(self) -> SchedulerReport:
        """Nothing is known of it here (`capabilities.scheduler`)."""
        return SchedulerReport()

    def parse(self, paths: Sequence[str], *, wait: bool = True) -> None:
        """See `Target`: this one does not parse."""

    def touch(self, paths: Sequence[str]) -> None:
        """The kubelet sets the time of all files at each change; there is nothing to touch."""

    def close(self) -> None:
        """Nothing is held open."""

    def _read(self, root: str) -> dict[str, _Item]:
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
        held = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        held.update((key, _decode(value)) for key, value in (found.get("binaryData") or {}).items())
        items: dict[str, _Item] = {}
        for key, content in held.items():
            path, kind = place_of(key)
            if not safe_parts(f"{root}/{path}"):
                continue
            items[path] = _Item(content, executable=kind == "executable", is_folder=kind == "folder")
            for above in _above(path):
                items.setdefault(above, _Item(b"", is_folder=True))
        return items

    def _write(self, root: str, items: Mapping[str, _Item]) -> None:
        name = f"airflow-{root}"
        full = {above for path in items for above in _above(path)}
        content = {
            key_of(path, executable=item.executable, is_folder=item.is_folder): item.content
            for path, item in sorted(items.items())
            if path not in full
        }
        wanted = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": self._namespace,
                "labels": {ENVIRONMENT_LABEL: self._environment, MANAGED_BY_LABEL: "devenv"},
            },
            "binaryData": {key: base64.b64encode(value).decode() for key, value in content.items()},
        }
        try:
            self._cluster.apply([wanted], owner=self._environment)
            self._held[root] = dict(items)
            self._wake_kubelet(name, content)
        except ClusterUnreachable as error:
            raise TargetLost(error.message) from error

    def _wake_kubelet(self, name: str, content: Mapping[str, bytes]) -> None:
        """Changes an annotation of the pods that mount the ConfigMap, so that their kubelet looks at it now."""
        together = hashlib.sha256()
        for key, value in content.items():
            together.update(f"{key}\0{hashlib.sha256(value).hexdigest()}\n".encode())
        patch = {"metadata": {"annotations": {_ANNOTATION: together.hexdigest()[:16]}}}
        for pod in self._cluster.list("Pod", self._namespace):
            volumes = pod.get("spec", {}).get("volumes") or []
            if any((volume.get("configMap") or {}).get("name") == name for volume in volumes):
                self._cluster.merge("Pod", pod["metadata"]["name"], self._namespace, patch)


def key_of(path: str, *, executable: bool = False, is_folder: bool = False) -> str:
    """The key for a path below the synced folder: its name where that can be, `team-2Fetl.py.devenv` where it cannot.

    Each byte but letters, digits, `_` and `.` is `-` and its two hexadecimal digits; the ending tells such a key, and
    that the file is executable (`.devenv-x`) or an empty folder (`.devenv-d`).
    """
    if not executable and not is_folder and _PLAIN_KEY.fullmatch(path) and path not in (".", ".."):
        return path
    safe = re.sub(rb"[^_.A-Za-z0-9]", lambda found: b"-%02X" % found[0][0], path.encode())
    if safe.startswith(b".."):  # the kubelet's own names begin so
        safe = b"-2E" + safe[1:]
    ending = ".devenv-d" if is_folder else ".devenv-x" if executable else ".devenv"
    return safe.decode() + ending


def place_of(key: str) -> tuple[str, str]:
    """The path of a key, and its kind: `file`, `executable` or `folder`."""
    for suffix, kind in _SUFFIXES.items():
        if key.endswith(suffix):
            text = re.sub(r"-([0-9A-F]{2})", lambda found: chr(int(found[1], 16)), key.removesuffix(suffix))
            return text.encode("latin-1", "replace").decode("utf-8", "replace"), kind
    return key, "file"


def _key_of_entry(entry: Entry) -> str:
    path = entry.path.partition("/")[2]
    return key_of(path, executable=entry.executable, is_folder=entry.kind == "folder")


def _above(path: str) -> list[str]:
    return [str(folder) for folder in PurePosixPath(path).parents if folder.name]


def _decode(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return b""
