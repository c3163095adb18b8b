"""Whose a minikube profile is: devenv writes its environment's label into a profile that it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devenv.backends.minikube.errors import ProfileNotOurs, ProfileOwned, SeveralNodes
from devenv.backends.steps import namespace_owner
from devenv.errors import DevenvError

if TYPE_CHECKING:
    from devenv.backends.minikube.backend import MinikubeBackend
    from devenv.backends.minikube.program import Profile


def require_owner(backend: MinikubeBackend, profile: Profile) -> None:
    """Refuses a profile that devenv did not make for this project, or that has several nodes.

    Raises:
        ProfileOwned: it is another project's.
        ProfileNotOurs: devenv did not make it.
        SeveralNodes: as it says.
    """
    mine = backend.project.identifier
    owner, folder = profile.owner, ""
    if owner != mine and not backend.stopped():
        try:
            in_namespace, folder = namespace_owner(backend)
        except DevenvError:
            in_namespace = ""
        owner = owner or in_namespace
    if owner and owner != mine:
        where = f", folder {folder}" if folder else ""
        raise ProfileOwned(
            f"minikube's profile {profile.name} belongs to environment {owner}{where}",
            hint=f"devenv up --profile NAME, for a minikube of its own (minikube.profile in devenv.toml); or, if "
            f"{owner} is no longer needed, `devenv destroy` in its folder.",
        )
    if not owner:
        raise ProfileNotOurs(
            f"minikube's profile {profile.name} exists, and devenv did not make it",
            hint=f"devenv up --profile NAME, for one of devenv's own; or `minikube delete -p {profile.name}` if it is "
            "no longer needed.",
        )
    if profile.nodes > 1:
        raise SeveralNodes(
            f"minikube's profile {profile.name} has {profile.nodes} nodes; its volumes are folders of one node, so the "
            "DAG folder would differ from pod to pod",
            hint=f"minikube node delete -p {profile.name} NODE, or devenv up --profile NAME.",
        )
