"""Which checks a project needs, in the order in which their findings make sense to a reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devenv.doctor import cluster, laptop, network, platform, sync
from devenv.doctor.check import Check, Finding, Fix, failure, ok, skipped
from devenv.errors import DevenvError
from devenv.minikube.backend import MinikubeBackend
from devenv.platform.backend import PlatformBackend

if TYPE_CHECKING:
    from devenv.backends.base import Backend
    from devenv.cluster.connection import Cluster
    from devenv.doctor.machine import Machine
    from devenv.project import Project


def all_checks(
    machine: Machine, project: Project | None, backend: Backend | None, trouble: DevenvError | None = None
) -> list[Check]:
    """The checks for a project on its backend.

    Args:
        machine: the laptop.
        project: None where there is none, or its settings are not valid; only the laptop is looked at then.
        backend: None where none could be chosen.
        trouble: why there is no project or no backend.
    """
    found: list[Check] = []
    if trouble is not None:
        said = trouble
        found.append(
            Check("project", "Project", lambda: failure(said.message, said.hint or "", detail=said.detail or ""))
        )
    elif project is not None:
        folder = project.folder
        found.append(Check("project", "Project", lambda: ok(str(folder))))
    on_minikube = isinstance(backend, MinikubeBackend) if backend is not None else _wants_minikube(project)
    found += laptop.checks(machine, project, cluster=on_minikube)
    if project is None:
        return found
    found += network.checks(
        machine,
        project,
        cluster=on_minikube,
        ours=lambda: _own_ports(backend),
        node_address=lambda: _node_address(machine, project),
    )
    if on_minikube:
        from devenv.doctor import minikube

        found += minikube.checks(machine, project)
    if backend is None:
        return found + sync.checks(project, None, before=())
    before: tuple[str, ...] = ("environment",)
    if isinstance(backend, PlatformBackend):
        namespace = project.settings.kubernetes.namespace
        open_cluster = backend.cluster
        found += cluster.checks(
            open_cluster, namespace, project.identifier, machine.environment.now, minikube=on_minikube
        )
        before = ("namespace",)

        def restart(component: str) -> Fix | None:
            return Fix(
                f"delete the pod of {component}, which is then made anew",
                lambda: _delete_pods(open_cluster(), namespace, component),
            )
    else:
        found.append(Check("environment", "Environment", lambda: _environment(backend)))

        def restart(component: str) -> Fix | None:  # noqa: ARG001 (the supervisor starts again what ends)
            return None

    found += platform.checks(project, backend, restart, before=before)
    return found + sync.checks(project, backend, before=before)


def _wants_minikube(project: Project | None) -> bool:
    return project is None or project.settings.backend in ("auto", "minikube")


def _environment(backend: Backend) -> Finding:
    status = backend.status()
    if status.state in ("missing", "stopped"):
        return skipped(f"the environment is {status.state}; devenv up starts it")
    return ok(f"{status.backend}, {status.state}")


def _own_ports(backend: Backend | None) -> set[int]:
    """The ports on which this environment answers now."""
    if backend is None:
        return set()
    try:
        urls = backend.status().urls
    except DevenvError:
        return set()
    return {
        int(url.rstrip("/").rpartition(":")[2]) for url in urls.values() if url.rpartition(":")[2].rstrip("/").isdigit()
    }


def _node_address(machine: Machine, project: Project) -> str:
    """Where the profile's node is, from minikube; "" where there is none."""
    try:
        done = machine.run(["minikube", "ip", "-p", project.settings.minikube.profile])
    except DevenvError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _delete_pods(cluster: Cluster, namespace: str, component: str) -> None:
    for pod in cluster.list("Pod", namespace, labels=f"app.kubernetes.io/component={component}"):
        cluster.delete("Pod", pod["metadata"]["name"], namespace)
