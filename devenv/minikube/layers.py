"""Which layers of images the laptop and a containerd node share, and a stream of images without those.

`docker save` writes every layer each time; since Docker 25 as an OCI layout, in which each blob is named by its digest.
containerd takes such a layout without the blobs that its content store holds already.
"""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterable, Mapping
from typing import IO

from devenv.environment import Environment
from devenv.minikube.engine import inspected
from devenv.process import run

_BLOBS = "blobs/sha256/"
_BUFFER = 1024 * 1024
_SMALL = 64 * 1024
"""Manifests and configurations always travel: they are what the node looks at first."""


def laptop_layers(images: Iterable[str], environment: Environment) -> frozenset[str]:
    """The digests of the layers of images in the laptop's engine, without "sha256:"; empty where it does not answer."""
    layers = (about.get("RootFS", {}).get("Layers") or [] for about in inspected(images, environment).values())
    return frozenset(str(layer).removeprefix("sha256:") for each in layers for layer in each)


def node_blobs(node: str, variables: Mapping[str, str]) -> frozenset[str]:
    """The digests of everything in the content store of a node's containerd, without "sha256:".

    Args:
        node: the container that the node is.
        variables: with those of docker.
    """
    command = ["docker", "exec", node, "ctr", "-n", "k8s.io", "content", "ls", "--quiet"]
    done = run(command, variables=variables, check=False)
    return frozenset(line.strip().removeprefix("sha256:") for line in done.stdout.splitlines() if line.strip())


def copy_without(held: Collection[str], source: IO[bytes], sink: IO[bytes]) -> None:
    """Copies a stream of images, without the layers that the other side holds; closes both.

    Raises:
        OSError: one of the sides ended early.
        tarfile.TarError: `source` is no stream of images.
    """
    with (
        source,
        sink,
        tarfile.open(fileobj=source, mode="r|", bufsize=_BUFFER) as images,
        tarfile.open(fileobj=sink, mode="w|", bufsize=_BUFFER) as rest,
    ):
        for member in images:
            digest = member.name.removeprefix(_BLOBS)
            if digest != member.name and member.size > _SMALL and digest in held:
                continue
            rest.addfile(member, images.extractfile(member) if member.isreg() else None)
