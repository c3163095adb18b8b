"""The parts of the platform, one entry each: settings, flags, manifests, `open`, `logs` and completion read them here.

A component's manifests and `secrets.json` lie in `minikube/components/NAME`, those of the base in `minikube/base`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from devenv.resources import platform_folder


@dataclass(frozen=True)
class Page:
    """A web page of a workload.

    Attributes:
        port: inside the pod.
        login: the command that shows user and password; "" where there is no login.
    """

    port: int
    login: str = ""


@dataclass(frozen=True)
class PlatformComponent:
    """One part of the platform.

    Attributes:
        name: its folder, and the word after `devenv up --with`.
        by: the setting that switches it on: `components`, or one that implies it.
        workloads: the names of its pods in `devenv status` and `devenv logs`.
        images: setting under `[images]` → the image's name in the manifests.
        pages: workload → its web page.
        options: options of `airflow.cfg`, by section.
        packages: Python packages that Airflow's image needs for it.
    """

    name: str
    by: Literal["always", "components", "airflow.executor", "airflow.schedulers"] = "components"
    workloads: tuple[str, ...] = ()
    images: Mapping[str, str] = field(default_factory=dict)
    pages: Mapping[str, Page] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, str | int | float | bool]] = field(default_factory=dict)
    packages: tuple[str, ...] = ()


BASE = PlatformComponent(
    "base",
    by="always",
    workloads=(
        "scheduler",
        "webserver",
        "api-server",
        "triggerer",
        "dag-processor",
        "postgres",
        "vault",
        "agent",
        "task",
        "image",
    ),
    images={"airflow": "apache/airflow", "postgres": "postgres", "vault": "hashicorp/vault"},
    pages={
        "webserver": Page(8080, "devenv env --reveal"),
        "api-server": Page(8080, "devenv env --reveal"),
        "vault": Page(8200, "devenv env --reveal"),
    },
)

OPTIONAL = (
    PlatformComponent(
        "celery",
        by="airflow.executor",
        workloads=("worker", "flower", "redis"),
        images={"redis": "redis"},
        pages={"flower": Page(5555, "devenv secrets get flower/login --reveal")},
        options={
            "celery": {
                "broker_url": "${CELERY_BROKER_URL}",
                "worker_concurrency": 4,
                # Only Flower's own pod gets it.
                "flower_basic_auth": "${FLOWER_BASIC_AUTH}",
            }
        },
    ),
    PlatformComponent("ha", by="airflow.schedulers"),
    PlatformComponent(
        "monitoring",
        workloads=("statsd", "prometheus", "alertmanager", "grafana"),
        images={
            "statsd_exporter": "prom/statsd-exporter",
            "prometheus": "prom/prometheus",
            "alertmanager": "prom/alertmanager",
            "grafana": "grafana/grafana",
        },
        pages={"grafana": Page(3000, "devenv secrets get grafana/admin --reveal"), "prometheus": Page(9090)},
        options={
            "metrics": {
                "statsd_on": True,
                # The side-car; task pods, which must be able to end, have a Service in its place.
                "statsd_host": "localhost",
                "statsd_port": 9125,
                "statsd_prefix": "airflow",
                # dag_id and the like as labels.
                "statsd_influxdb_enabled": True,
                # Before 2.9.3 a tag that is a number ends a task's pod with an error (apache/airflow#40407); the
                # first two are Airflow's own default.
                "statsd_disabled_tags": "job_id,run_id,return_code",
            }
        },
    ),
    PlatformComponent(
        "lineage",
        workloads=("marquez",),
        images={"marquez": "marquezproject/marquez"},
        options={
            "openlineage": {
                "transport": json.dumps({"type": "http", "url": "http://marquez:5000", "endpoint": "api/v1/lineage"}),
                "namespace": "airflow",
            }
        },
        packages=("apache-airflow-providers-openlineage",),
    ),
)
"""In the order in which kustomize applies them."""

ALL = (BASE, *OPTIONAL)
BY_NAME = {component.name: component for component in OPTIONAL}
WORKLOADS = tuple(workload for component in ALL for workload in component.workloads)
PAGES = {workload: page for component in ALL for workload, page in component.pages.items()}


def page_name(workload: str) -> str:
    """How `devenv open` and `[ports]` name a workload's page: Airflow's is `airflow`, whichever component serves it."""
    return "airflow" if workload in ("webserver", "api-server") else workload


PAGE_NAMES = tuple(dict.fromkeys(page_name(workload) for workload in PAGES))


def secret_entries(parts: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """The secrets of the base and of these components, in the form of `minikube/base/programs/secrets.json`."""
    platform = platform_folder()
    yield from json.loads((platform / "base" / "programs" / "secrets.json").read_text(encoding="utf-8"))["secrets"]
    for part in parts:
        file = platform / "components" / part / "secrets.json"
        if file.exists():
            yield from json.loads(file.read_text(encoding="utf-8"))


def env_files() -> tuple[str, ...]:
    """The names of the base's env files under /etc/airflow, which a secret of `[vault.secrets]` must not take."""
    return tuple(dict.fromkeys(entry["file"] for entry in secret_entries() if entry.get("file", "").endswith(".env")))
