"""Bringing secrets that changed in Vault to the pods that run with the old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devenv.events import Notice, Reporter
from devenv.vault import mirrored, staleness
from devenv.vault.store import SecretStore

if TYPE_CHECKING:
    import hvac

    from devenv.cluster.connection import Cluster
    from devenv.project import Project


def renew(project: Project, cluster: Cluster, vault: hvac.Client, report: Reporter, *, restart: bool) -> None:
    """Updates the mirrored Secrets, and restarts the pods that fetched something else than Vault holds now.

    Raises:
        ClusterError: the cluster does not answer or denies it.
        VaultUnreachable, VaultSealed, VaultDenied: Vault cannot be asked.
    """
    namespace = project.settings.kubernetes.namespace
    store = SecretStore(vault, project.settings.vault.mount)
    if project.settings.airflow.ui_credentials_secret or project.settings.airflow.variables_secret:
        for name in mirrored.apply(project, cluster, store.read_all()):
            report(Notice("info", f"Secret {name} in namespace {mirrored.namespace_of(project)} is in step"))
    stale = staleness.stale_pods(cluster.list("Pod", namespace), store)
    if not stale:
        return
    if not restart:
        names = ", ".join(sorted({pod.component for pod in stale}))
        report(Notice("warning", f"{names} still run with the old value", hint="devenv secrets seed"))
        return
    restarted = staleness.restart(cluster, namespace, stale)
    if restarted:
        report(Notice("info", f"restarting with the new value: {', '.join(restarted)}"))
