"""The laptop's Docker engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import docker


def engine(variables: Mapping[str, str]) -> docker.DockerClient:
    """The engine that the docker command line uses: `DOCKER_HOST`, or its current context (Docker Desktop, Colima)."""
    import docker
    from docker.context import ContextAPI

    if variables.get("DOCKER_HOST"):
        return docker.from_env(environment=dict(variables))
    context = ContextAPI.get_current_context()
    host = context.Host if context is not None else None
    return docker.DockerClient(base_url=host, timeout=30) if host else docker.from_env(environment=dict(variables))
