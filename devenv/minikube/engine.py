"""The laptop's Docker engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from devenv.environment import Environment

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


def inspected(names: Iterable[str], environment: Environment) -> dict[str, Mapping[str, Any]]:
    """Those of the images that the laptop's engine has → what it knows of them; empty where none answers."""
    import docker.errors

    found: dict[str, Mapping[str, Any]] = {}
    try:
        client = engine(environment.variables)
    except (docker.errors.DockerException, OSError):
        return found
    with contextlib.closing(client):
        for name in names:
            with contextlib.suppress(docker.errors.DockerException, OSError):
                found[name] = client.images.get(name).attrs
    return found
