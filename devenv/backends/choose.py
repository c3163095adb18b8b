"""Which backend: the flag, the setting, or what this machine can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devenv.process import which

if TYPE_CHECKING:
    from devenv.backends.base import Backend
    from devenv.events import Reporter
    from devenv.project import Project


def choose(project: Project, flag: str | None, report: Reporter) -> Backend:
    """The backend of a project, with the reason why.

    Args:
        project: with its settings.
        flag: `--backend`, or None.
        report: takes the backend's notices.

    Raises:
        DevenvError: the one that was asked for is not possible: no context named, for instance.
    """
    asked = flag if flag not in (None, "auto") else project.settings.backend
    why = "asked for by --backend" if flag not in (None, "auto") else "set as `backend`"
    if asked == "auto":
        asked, why = _by_machine(project)
    if asked == "minikube":
        from devenv.minikube.backend import MinikubeBackend

        return MinikubeBackend(project, why, report)
    if asked == "kubernetes":
        from devenv.kubernetes.backend import KubernetesBackend

        return KubernetesBackend(project, why, report)
    from devenv.local.backend import LocalBackend

    return LocalBackend(project, why, report)


def _by_machine(project: Project) -> tuple[str, str]:
    """Minikube where it and Docker are installed, else local; looks at PATH only, which costs no time."""
    variables = project.environment.variables
    if which("minikube", variables) is None:
        return "local", "minikube is not installed"
    driver = project.settings.minikube.driver or variables.get("MINIKUBE_DRIVER") or "docker"
    if driver == "docker" and which("docker", variables) is None:
        return "local", "Docker is not installed"
    return "minikube", "Docker and minikube are installed" if driver == "docker" else f"minikube with {driver}"
