"""The container that is minikube's node with the docker driver: its state, its ports, and giving it other ports."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devenv.errors import CommandFailed, ProgramMissing, TimedOut
from devenv.process import run

_DOCKER_SECONDS = 20.0


@dataclass(frozen=True)
class Node:
    """The node's container.

    Attributes:
        state: "running", "exited", "paused", "created"; "" when there is none.
        ports: port of the node → port on 127.0.0.1, as published; also while it is stopped.
    """

    state: str = ""
    ports: Mapping[int, int] = field(default_factory=dict)


def inspect(profile: str, variables: Mapping[str, str]) -> Node:
    """The container as Docker has it; none where Docker does not answer."""
    command = ["docker", "container", "inspect", "--format", "{{json .State.Status}} {{json .HostConfig.PortBindings}}"]
    try:
        done = run([*command, profile], variables=variables, timeout=_DOCKER_SECONDS)
        state, bindings = (json.loads(part) for part in done.stdout.strip().split(" ", 1))
    except (ProgramMissing, TimedOut, CommandFailed, ValueError):
        return Node()
    ports: dict[int, int] = {}
    for name, hosts in (bindings or {}).items():
        for host in hosts or []:
            if str(host.get("HostPort", "")).isdigit():
                ports[int(str(name).partition("/")[0])] = int(host["HostPort"])
    return Node(str(state), ports)


def spare_image(profile: str) -> str:
    """The image that keeps what a node had outside of its volume when its container was made anew."""
    return f"devenv/node-{profile}:kept"


def publish_anew(profile: str, ports: Mapping[int, int], variables: Mapping[str, str]) -> None:
    """Starts a stopped node with other ports, which Docker can do only for a new container.

    The cluster's data lies in a volume, which the new container mounts again; what Kubernetes keeps elsewhere
    (/etc/kubernetes) is committed into an image from which the container is made.

    Args:
        profile: the container's name.
        ports: port of the node → port on 127.0.0.1; its other ports stay.
        variables: docker's environment.

    Raises:
        docker.errors.DockerException: Docker refused; the old container is then still there.
    """
    from devenv.minikube.engine import engine

    old_name = f"{profile}-devenv-old"
    with contextlib.closing(engine(variables)) as client:
        api = client.api
        about: dict[str, Any] = api.inspect_container(profile)
        repository, _, tag = spare_image(profile).partition(":")
        api.commit(profile, repository=repository, tag=tag)
        host = about["HostConfig"]
        for node, here in ports.items():
            host["PortBindings"][f"{node}/tcp"] = [{"HostIp": "127.0.0.1", "HostPort": str(here)}]
        networks = {
            name: {"IPAMConfig": network.get("IPAMConfig"), "Aliases": network.get("Aliases")}
            for name, network in about["NetworkSettings"]["Networks"].items()
        }
        config = {
            **about["Config"],
            "Image": spare_image(profile),
            "ExposedPorts": {**about["Config"].get("ExposedPorts", {}), **{f"{node}/tcp": {} for node in ports}},
            "HostConfig": host,
            "NetworkingConfig": {"EndpointsConfig": networks},
        }
        api.rename(profile, old_name)
        try:
            api.create_container_from_config(config, profile)  # type: ignore[no-untyped-call]
            # minikube throws away a container that was made and never started, and makes one of its own.
            api.start(profile)
        except BaseException:
            with contextlib.suppress(Exception):
                api.remove_container(profile, force=True)
            api.rename(old_name, profile)
            raise
        api.remove_container(old_name)


def forget_spare(profile: str, variables: Mapping[str, str]) -> None:
    """Removes the image of `publish_anew`, where there is one."""
    with contextlib.suppress(ProgramMissing, TimedOut):
        run(["docker", "image", "rm", spare_image(profile)], variables=variables, check=False, timeout=_DOCKER_SECONDS)
