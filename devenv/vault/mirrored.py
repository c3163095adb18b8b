"""The Kubernetes Secrets `airflow-ui-creds` and `airflow-variables`, which some teams' tools read, made from Vault.

Switched on by `[airflow] ui_credentials_secret` and `variables_secret`. One that devenv did not make is never touched.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from devenv.vault import layout
from devenv.vault.errors import SecretForeign

if TYPE_CHECKING:
    from devenv.cluster.connection import Cluster
    from devenv.project import Project

UI_CREDENTIALS = "airflow-ui-creds"
VARIABLES = "airflow-variables"


def wanted(project: Project, secrets: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    """The Secrets that the settings ask for.

    Args:
        project: whose.
        secrets: path → key → value, as Vault holds them.
    """
    found: list[dict[str, Any]] = []
    airflow = project.settings.airflow
    if airflow.ui_credentials_secret:
        admin = secrets.get(layout.ADMIN, {})
        user, password = admin.get("AIRFLOW_ADMIN_USER", ""), admin.get("AIRFLOW_ADMIN_PASSWORD", "")
        found.append(_secret(project, UI_CREDENTIALS, {"username": user, "password": password}))
    if airflow.variables_secret:
        prefix = f"{layout.VARIABLES}/"
        variables = {
            f"AIRFLOW_VAR_{_variable_name(path.removeprefix(prefix))}": values.get(layout.VARIABLE_KEY, "")
            for path, values in secrets.items()
            if path.startswith(prefix)
        }
        found.append(_secret(project, VARIABLES, variables))
    return found


def apply(project: Project, cluster: Cluster, secrets: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Makes the Secrets as Vault has them; gives back the names of those that changed.

    Raises:
        SecretForeign: one exists that devenv did not make; the others are written all the same.
        ClusterError: the cluster does not answer or denies it.
    """
    changed: list[str] = []
    foreign: list[str] = []
    for secret in wanted(project, secrets):
        name, namespace = secret["metadata"]["name"], secret["metadata"]["namespace"]
        live = cluster.get("Secret", name, namespace)
        if live is not None and _owner(live) != project.identifier:
            foreign.append(name)
        elif live is None or live.get("data") != secret["data"]:
            cluster.apply([secret], owner=project.identifier)
            changed.append(name)
    if foreign:
        namespace = namespace_of(project)
        raise SecretForeign(
            f"{' and '.join(foreign)} in namespace {namespace} was not made by this environment; it is left as it is",
            hint=f"kubectl --namespace {namespace} delete secret {foreign[0]}   lets devenv keep one",
        )
    return changed


def namespace_of(project: Project) -> str:
    """Where these Secrets live."""
    return project.settings.airflow.secrets_namespace or project.settings.kubernetes.namespace


def _owner(secret: Mapping[str, Any]) -> str:
    return str((secret["metadata"].get("labels") or {}).get("devenv.io/environment", ""))


def _variable_name(name: str) -> str:
    """Airflow looks up `AIRFLOW_VAR_` and the variable's name in capitals."""
    return re.sub(r"[^A-Z0-9_]", "_", name.upper())


def _secret(project: Project, name: str, values: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": name,
            "namespace": namespace_of(project),
            "labels": {
                "app.kubernetes.io/name": "airflow",
                "app.kubernetes.io/managed-by": "devenv",
                "devenv.io/environment": project.identifier,
            },
            "annotations": {"devenv.io/folder": str(project.folder)},
        },
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in sorted(values.items())},
    }
