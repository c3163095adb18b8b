"""The Kubernetes Secrets `airflow-ui-creds` and `airflow-variables`, which some teams' tools read, made from Vault.

Switched on by `[airflow] ui_credentials_secret` and `variables_secret`. One that devenv did not make is read instead:
its values go into Vault, and it is never touched.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from devenv.vault import layout

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
    """Makes the Secrets as Vault has them; gives back the names of those that changed. Others' are left alone.

    Raises:
        ClusterError: the cluster does not answer or denies it.
    """
    changed: list[str] = []
    objects = wanted(project, secrets)
    if objects and cluster.get("Namespace", namespace_of(project)) is None:
        cluster.apply([_namespace(project)])
    for secret in objects:
        name, namespace = secret["metadata"]["name"], secret["metadata"]["namespace"]
        live = cluster.get("Secret", name, namespace)
        if live is not None and (_owner(live) != project.identifier or live.get("data") == secret["data"]):
            continue
        cluster.apply([secret], owner=project.identifier)
        changed.append(name)
    return changed


def adopted(project: Project, cluster: Cluster) -> dict[str, dict[str, str]]:
    """What the Secrets say that somebody else made: path → key → value, to go into Vault.

    Of `airflow-ui-creds`, the keys whose names hold "user" and "pass"; of `airflow-variables`, those that start with
    `AIRFLOW_VAR_`.

    Raises:
        ClusterError: the cluster does not answer or denies it.
    """
    found: dict[str, dict[str, str]] = {}
    airflow = project.settings.airflow
    if airflow.ui_credentials_secret:
        for key, value in _foreign(project, cluster, UI_CREDENTIALS).items():
            for word, name in (("user", "AIRFLOW_ADMIN_USER"), ("pass", "AIRFLOW_ADMIN_PASSWORD")):
                if word in key.lower():
                    found.setdefault(layout.ADMIN, {})[name] = value
    if airflow.variables_secret:
        for key, value in _foreign(project, cluster, VARIABLES).items():
            if key.startswith("AIRFLOW_VAR_"):
                name = key.removeprefix("AIRFLOW_VAR_").lower()
                found[f"{layout.VARIABLES}/{name}"] = {layout.VARIABLE_KEY: value}
    return found


def _foreign(project: Project, cluster: Cluster, name: str) -> dict[str, str]:
    live = cluster.get("Secret", name, namespace_of(project))
    if live is None or _owner(live) == project.identifier:
        return {}
    return {key: base64.b64decode(value).decode("utf-8", "replace") for key, value in (live.get("data") or {}).items()}


def _namespace(project: Project) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": namespace_of(project),
            "labels": {"app.kubernetes.io/managed-by": "devenv", "devenv.io/environment": project.identifier},
        },
    }


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
