"""Which pods run with a secret that has changed since they fetched it, and a restart of just those.

`fetch_secrets.py` leaves the revision of each path that it read in its pod's status; a revision is a keyed digest, so
it survives a restart of Vault (unlike version numbers) and tells nothing. Connections and variables are read live.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol

from devenv.vault import programs, seeds

if TYPE_CHECKING:
    from devenv.cluster.connection import Cluster
    from devenv.project import Project

INIT_CONTAINER = "secrets"


class Secrets(Protocol):
    """Where the present content of a path is: a running Vault (`SecretStore`), or what it is seeded with."""

    def read(self, path: str) -> dict[str, str] | None:
        """Keys and values at a path; None where there is nothing."""


class SeededSecrets:
    """What Vault is seeded with: read in one request from the cluster, also while Vault starts."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._secrets = {
            programs.load("fetch_secrets").REVISION_KEY_PATH: {"key": document["revision_key"]},
            **document["secrets"],
        }

    def read(self, path: str) -> dict[str, str] | None:
        """See `Secrets`."""
        return self._secrets.get(path)


@dataclass(frozen=True)
class StalePod:
    """A pod that runs with old secrets.

    Attributes:
        pod: its name.
        component: `scheduler` …
        paths: what has changed since it started.
        owner: kind and name of what would make it anew ("Deployment", "scheduler"), or None for a task's pod, which
            is left to end.
    """

    pod: str
    component: str
    paths: tuple[str, ...]
    owner: tuple[str, str] | None


def fetched_revisions(pod: Mapping[str, Any]) -> dict[str, str]:
    """Path → revision as the pod's init container noted it; empty for a pod that fetches nothing, or not yet."""
    for status in pod.get("status", {}).get("initContainerStatuses") or []:
        if status.get("name") != INIT_CONTAINER:
            continue
        message = (status.get("state", {}).get("terminated") or {}).get("message", "")
        try:
            revisions = json.loads(message)["revisions"]
            return {str(path): str(revision) for path, revision in revisions.items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            return {}  # it failed, and the message says why
    return {}


def current_revisions(secrets: Secrets, paths: Iterable[str]) -> dict[str, str]:
    """Path → revision of what it holds now."""
    fetch_secrets = programs.load("fetch_secrets")
    key = (secrets.read(fetch_secrets.REVISION_KEY_PATH) or {}).get("key", "")
    return {path: fetch_secrets.revision(key, secrets.read(path) or {}) for path in sorted(set(paths))}


def stale_paths(fetched: Mapping[str, str], current: Mapping[str, str]) -> tuple[str, ...]:
    """The paths that were fetched with another content than they have now."""
    return tuple(sorted(path for path, revision in fetched.items() if current.get(path, revision) != revision))


def look(project: Project, cluster: Cluster) -> list[StalePod]:
    """The running pods of an environment that have old secrets; none where it is not up.

    Raises:
        ClusterError: the cluster does not answer or denies it.
    """
    namespace = project.settings.kubernetes.namespace
    secret = cluster.get("Secret", seeds.SECRET_NAME, namespace)
    if secret is None:
        return []
    return stale_pods(cluster.list("Pod", namespace), SeededSecrets(seeds.decode_secret(secret)))


def stale_pods(pods: Sequence[Mapping[str, Any]], secrets: Secrets) -> list[StalePod]:
    """The running pods among these that have old secrets.

    Args:
        pods: of the environment, as the API server has them.
        secrets: what they would fetch now.

    Raises:
        VaultUnreachable, VaultSealed, VaultDenied: Vault cannot be asked.
    """
    running = [pod for pod in pods if pod.get("status", {}).get("phase") in ("Pending", "Running")]
    fetched = [(pod, fetched_revisions(pod)) for pod in running]
    current = current_revisions(secrets, (path for _pod, revisions in fetched for path in revisions))
    found: list[StalePod] = []
    for pod, revisions in fetched:
        paths = stale_paths(revisions, current)
        if paths:
            metadata = pod["metadata"]
            component = str((metadata.get("labels") or {}).get("app.kubernetes.io/component", ""))
            found.append(StalePod(str(metadata["name"]), component, paths, _owner(pod)))
    return found


def restart(cluster: Cluster, namespace: str, pods: Iterable[StalePod]) -> list[str]:
    """Starts a rolling restart of what makes these pods, and of nothing else; gives back the components.

    Raises:
        ClusterError: the cluster does not answer or denies it.
    """
    owners = sorted({pod.owner for pod in pods if pod.owner is not None})
    note = {"kubectl.kubernetes.io/restartedAt": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    for kind, name in owners:
        cluster.merge(kind, name, namespace, {"spec": {"template": {"metadata": {"annotations": note}}}})
    return [name for _kind, name in owners]


def _owner(pod: Mapping[str, Any]) -> tuple[str, str] | None:
    metadata = pod["metadata"]
    for reference in metadata.get("ownerReferences") or []:
        if reference["kind"] == "StatefulSet":
            return "StatefulSet", str(reference["name"])
        if reference["kind"] == "ReplicaSet":
            # A Deployment's ReplicaSet is named after it and its template's hash.
            template_hash = (metadata.get("labels") or {}).get("pod-template-hash", "")
            return "Deployment", str(reference["name"]).removesuffix(f"-{template_hash}")
    return None
