"""Kubernetes objects as plain dictionaries, and the labels by which devenv knows its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object as JSON has it."""
Objects = list[Object]

ENVIRONMENT_LABEL = "devenv.io/environment"
FOLDER_ANNOTATION = "devenv.io/folder"
DATABASE_CLAIM = "postgres-data"
RELEASE_ANNOTATION = "devenv.io/airflow-release"
"""On the database's claim, which lives as long as the data: the last release that `devenv up` has started on it."""
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"


def environment_of(item: Mapping[str, Any]) -> str:
    """The environment whose label an object carries, "" for none."""
    return str((item.get("metadata", {}).get("labels") or {}).get(ENVIRONMENT_LABEL, ""))


def label_selector(labels: Mapping[str, str]) -> str:
    """A label selector from a Deployment's `matchLabels`."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def container_statuses(pod: Mapping[str, Any]) -> list[Any]:
    """What the kubelet says of a pod's containers, those of its init containers first."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def component_of(item: Mapping[str, Any]) -> str:
    """`app.kubernetes.io/component` of an object, "" for none."""
    return str((item.get("metadata", {}).get("labels") or {}).get("app.kubernetes.io/component", ""))


def containers_of(pod: Mapping[str, Any]) -> Sequence[str]:
    """The names of a pod's containers, init containers first."""
    spec = pod.get("spec", {})
    return [item["name"] for item in (spec.get("initContainers") or []) + (spec.get("containers") or [])]
