"""Images of the laptop's Docker engine into minikube's node, while its control plane still boots.

With the docker driver they go as one stream from `docker save` into the node's own runtime, so that layers which
several images share travel once, and those that a containerd node has already stay at home; Docker gathers them while
the node is still being made. With any other driver they go by `minikube image load`.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tarfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from devenv.environment import Environment
from devenv.errors import DevenvError
from devenv.minikube.engine import inspected
from devenv.minikube.errors import ImagesNotLoaded
from devenv.minikube.layers import copy_without, laptop_layers, node_blobs
from devenv.process import run, start, stop

if TYPE_CHECKING:
    from devenv.minikube.program import Minikube

_SETTLE_SECONDS = 0.5
_RUNTIME_TRIES = 40
_IMPORT = {
    "containerd": ["ctr", "-n", "k8s.io", "images", "import", "-"],
    "docker": ["docker", "load"],
}
"""What takes a stream of images inside the node, by its runtime."""


def laptop_images(names: Iterable[str], environment: Environment) -> dict[str, str]:
    """Those of the images that the laptop's Docker engine has → their ids; empty where no engine answers."""
    return {name: str(about.get("Id")) for name, about in inspected(names, environment).items()}


def full_name(image: str) -> str:
    """An image's name as containerd writes it: "postgres:15" is "docker.io/library/postgres:15"."""
    name, at, digest = image.partition("@")
    head, slash, rest = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif not ("." in head or ":" in head or head == "localhost"):
        name = f"docker.io/{name}"
    if ":" not in name.rpartition("/")[2] and not at:
        name += ":latest"
    return f"{name}{at}{digest}" if rest or not slash else name


class Loader:
    """Loads images into the node, and tells who waits for one when it is there.

    Args:
        minikube: the program, for drivers and runtimes without a faster way.
        environment: with the variables of docker.
    """

    def __init__(self, minikube: Minikube, environment: Environment) -> None:
        self._minikube = minikube
        self._environment = environment
        self._change = threading.Condition()
        self._pending: set[str] | None = None
        self._cancelled = False
        self._children: list[subprocess.Popen[bytes]] = []
        self._gathered: tuple[tuple[str, ...], subprocess.Popen[bytes]] | None = None

    def plan(self, images: Iterable[str]) -> None:
        """Says which images will be loaded: who waits for another one need not."""
        with self._change:
            self._pending = set(images)
            self._change.notify_all()

    def done(self, images: Iterable[str]) -> None:
        """Says that images are in the node, or will not come from here."""
        with self._change:
            self._pending = (self._pending or set()) - set(images)
            self._change.notify_all()

    def wait(self, images: Iterable[str], cancelled: threading.Event) -> None:
        """Returns once none of the images is still on its way, or `cancelled` is set."""
        wanted = set(images)
        with self._change:
            while not cancelled.is_set() and not self._cancelled and (self._pending is None or wanted & self._pending):
                self._change.wait(_SETTLE_SECONDS)

    def missing(self, images: Mapping[str, str], *, streams: bool) -> list[str]:
        """Those of the laptop's images (name → id) that the node lacks, or has in another version."""
        if not streams:
            there = self._minikube.list_images()
            return [image for image in images if full_name(image) not in there]
        ids = {
            full_name(tag): str(entry.get("id", "")) for entry in self._in_node() for tag in entry.get("repoTags") or []
        }
        # The containerd image store of newer engines counts by the manifest, not by the configuration as the
        # node does; there, and only there, no id matches, and the name has to do.
        comparable = any(identifier in ids.values() for identifier in images.values())
        return [
            image
            for image, identifier in images.items()
            if full_name(image) not in ids or (comparable and ids[full_name(image)] != identifier)
        ]

    def _in_node(self) -> list[dict[str, Any]]:
        """The images of the node's runtime, which minikube restarts once while the node starts."""
        command = ["docker", "exec", self._minikube.profile, "crictl", "images", "-o", "json"]
        for _attempt in range(_RUNTIME_TRIES):
            done = run(command, variables=self._environment.variables, check=False)
            if done.returncode == 0 or self._cancelled:
                break
            with self._change:
                self._change.wait(_SETTLE_SECONDS)
        with contextlib.suppress(ValueError):
            return list(json.loads(done.stdout).get("images") or [])
        return []

    def gather(self, images: Sequence[str]) -> None:
        """Starts `docker save`, whose first and longer half needs no reader: Docker puts the layers together."""
        save = start(["docker", "save", *images], variables=self._environment.variables, stderr=subprocess.DEVNULL)
        with self._change:
            self._gathered = (tuple(images), save)
            self._children.append(save)
            cancelled = self._cancelled
        if cancelled:
            self.cancel()

    def load(self, images: Sequence[str], runtime: str) -> None:
        """Loads images.

        Args:
            images: what to load.
            runtime: of a node that is a container; "" for a node that is none.

        Raises:
            ImagesNotLoaded: neither way worked.
            KeyboardInterrupt: it was cancelled.
        """
        if not images or (runtime in _IMPORT and self._stream(images, runtime)):
            return
        if self._cancelled:
            raise KeyboardInterrupt
        try:
            self._minikube.load_images(images)
        except DevenvError as error:
            raise ImagesNotLoaded(
                f"minikube could not load {', '.join(images)}",
                hint="`devenv up` tries again; `docker system df` shows whether the disk is full.",
                detail=error.detail or error.message,
            ) from error

    def _stream(self, images: Sequence[str], runtime: str) -> bool:
        """`docker save` into the node's runtime; False when that failed."""
        with self._change:
            gathered, self._gathered = self._gathered, None
        if gathered is not None and gathered[0] != tuple(images):
            stop(gathered[1], grace=1.0)
            gathered = None
        variables = self._environment.variables
        save = (
            gathered[1]
            if gathered is not None
            else start(["docker", "save", *images], variables=variables, stderr=subprocess.DEVNULL)
        )
        held = self._held(images, runtime)
        take = start(
            ["docker", "exec", "-i", self._minikube.profile, *_IMPORT[runtime]],
            stdin=subprocess.PIPE if held else save.stdout,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            variables=variables,
        )
        assert save.stdout is not None
        with self._change:
            self._children += [save, take]
            cancelled = self._cancelled
        if cancelled:
            self.cancel()
        try:
            if held:
                assert take.stdin is not None
                copy_without(held, save.stdout, take.stdin)
            else:
                save.stdout.close()  # so that `docker save` ends when the other side does
            return take.wait() == 0 and save.wait() == 0
        except (OSError, tarfile.TarError):
            return False
        finally:
            for child in (save, take):
                stop(child, grace=1.0)

    def _held(self, images: Sequence[str], runtime: str) -> frozenset[str]:
        """What the node has, where some of the images' layers are among it: all but the last of a rebuilt image."""
        if runtime != "containerd":
            return frozenset()
        held = node_blobs(self._minikube.profile, self._environment.variables)
        return held if held & laptop_layers(images, self._environment) else frozenset()

    def cancel(self) -> None:
        """Ends a running load, or what was gathered for one."""
        with self._change:
            self._cancelled = True
            children = list(self._children)
            gathered, self._gathered = self._gathered, None
            self._change.notify_all()
        if gathered is not None:
            stop(gathered[1], grace=1.0)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
