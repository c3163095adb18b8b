"""Where the seeds of an environment are kept, besides the file on the laptop: on a cluster, the Secret `vault-seed`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from devenv.vault import mirrored, programs, seeds
from devenv.vault.errors import SecretForeign

if TYPE_CHECKING:
    from devenv.cluster.connection import Cluster
    from devenv.project import Project

_POKE = "devenv.io/seeds-changed"


class SeedKeeper:
    """The seeds on the laptop, and in a cluster where there is one.

    Args:
        project: whose.
        cluster: where Vault runs in a pod; None for the local backend, whose seeder reads the laptop's file.
    """

    def __init__(self, project: Project, cluster: Cluster | None = None) -> None:
        self._project = project
        self._cluster = cluster

    @property
    def _namespace(self) -> str:
        return self._project.settings.kubernetes.namespace

    def locked(self) -> AbstractContextManager[None]:
        """Held from `load` to `save` by whoever changes the seeds, so that no change is lost to another process."""
        return seeds.locked(self._project)

    def load(self) -> seeds.Seeds:
        """The seeds; what is missing is generated.

        Raises:
            DevenvError: a file or the Secret cannot be read.
        """
        found = seeds.load_or_create(self._project, self._secret())
        if self._cluster is None:
            return found
        return replace(found, adopted=mirrored.adopted(self._project, self._cluster))

    def save(self, changed: seeds.Seeds) -> None:
        """Writes the laptop's file; the caller holds `locked` since it loaded."""
        seeds.save(self._project, changed)

    def publish(self, changed: seeds.Seeds) -> str:
        """Writes the whole Secret anew, so that Vault's seeder applies it; on the local backend the file is enough.

        Returns:
            The digest that the seeder's marker will have; "" on the local backend.

        Raises:
            SeedCommandFailed: a command that should print a value failed.
            SecretForeign: the Secret in the cluster is not this environment's.
        """
        if self._cluster is None:
            return ""
        self._secret()
        document = seeds.seed_document(self._project, changed)
        secret = seeds.encode_secret(self._project, document, changed.root_token)
        self._cluster.apply([secret], owner=self._project.identifier)
        self._poke()
        return str(programs.load("seed_vault").digest(document))

    def publish_path(self, path: str, values: Mapping[str, str] | None) -> bool:
        """Writes one path into the Secret, or removes it; no command runs. False where there is no Secret yet.

        Raises:
            SecretForeign: the Secret in the cluster is not this environment's.
        """
        secret = self._secret()
        if self._cluster is None or secret is None:
            return False
        document = seeds.decode_secret(secret)
        if values:
            document["secrets"][path] = dict(values)
        else:
            document["secrets"].pop(path, None)
        token = str(document["generated"]["root_token"])
        changed = seeds.encode_secret(self._project, document, token)
        self._cluster.apply([changed], owner=self._project.identifier)
        self._poke()
        return True

    def _secret(self) -> dict[str, Any] | None:
        if self._cluster is None:
            return None
        found = self._cluster.get("Secret", seeds.SECRET_NAME, self._namespace)
        if found is not None:
            owner = (found["metadata"].get("labels") or {}).get("devenv.io/environment")
            if owner != self._project.identifier:
                raise SecretForeign(
                    f"Secret {seeds.SECRET_NAME} in namespace {self._namespace} belongs to {owner or 'somebody else'}",
                    hint="Give this environment a namespace of its own: [kubernetes] namespace",
                )
        return found

    def _poke(self) -> None:
        """A changed pod is looked at by the kubelet at once; a changed Secret, only within a minute or so."""
        assert self._cluster is not None
        note = {"metadata": {"annotations": {_POKE: str(time.time_ns())}}}
        for pod in self._cluster.list("Pod", self._namespace, labels="app.kubernetes.io/component=vault"):
            self._cluster.merge("Pod", pod["metadata"]["name"], self._namespace, note)
