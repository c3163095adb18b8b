"""The cluster of an environment, from its settings alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devenv.cluster.connection import Cluster
    from devenv.project import Project


def cluster_of(project: Project, backend: str) -> Cluster | None:
    """The cluster where a backend of this name keeps the project's objects; None for the local backend.

    Raises:
        ContextMissing: the kubeconfig has no such context: it was never started.
    """
    if backend not in ("minikube", "kubernetes"):
        return None
    from devenv.cluster.connection import Cluster

    settings = project.settings
    context = settings.minikube.profile if backend == "minikube" else settings.kubernetes.context
    return Cluster.open(str(context), project.environment)
