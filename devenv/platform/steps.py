"""The steps of `devenv up` that both cluster backends share, from the manifests to the agent."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from devenv.boot.step import Progress, Step
from devenv.cluster.objects import Object, component_of, environment_of
from devenv.errors import DevenvError, RefusedError
from devenv.platform.agent_session import AGENT
from devenv.platform.preflight import require_move
from devenv.platform.status import images_of, waited
from devenv.platform.waiting import ReadyWait

if TYPE_CHECKING:
    from devenv.platform.backend import PlatformBackend

_READY_SECONDS = 900.0
"""The node may have to pull images over a slow line; what goes wrong is told long before."""


class NamespaceOwned(RefusedError):
    """The namespace belongs to the environment of another project folder.

    One namespace holds one environment. Give this one a namespace (or a minikube profile) of its own.
    """

    code = "DEVENV-233"


class PlatformStep(Step):
    """A step of a cluster backend."""

    def __init__(self, backend: PlatformBackend) -> None:
        self.backend = backend
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        """See `Step`."""
        self.cancelled.set()


class Build(PlatformStep):
    """The project's image, where `requirements.txt`, `packages.txt` or `plugins/` ask for one."""

    name: ClassVar[str] = "build"
    title: ClassVar[str] = "Build the image"
    after: ClassVar[tuple[str, ...]] = ("preflight",)

    def check(self) -> bool:
        """See `Step`."""
        return not self.backend.image.is_built or self.backend.image.exists()

    def run(self, progress: Progress) -> str:
        """See `Step`."""
        image = self.backend.image
        progress(image.name, None)
        image.build(self.backend.build_output(self.name))
        return image.name

    def cancel(self) -> None:
        """See `Step`."""
        self.backend.image.cancel()


class Manifests(PlatformStep):
    """The platform's objects, made from the settings while the cluster still starts."""

    name: ClassVar[str] = "manifests"
    title: ClassVar[str] = "Render the manifests"
    after: ClassVar[tuple[str, ...]] = ("preflight",)

    def check(self) -> bool:
        """See `Step`: where everything runs, rendering is only looking; what differs, the next steps apply."""
        backend = self.backend
        if backend.stopped() or not answers(backend):
            return False
        backend.objects()
        return backend.cluster().get("Namespace", backend.namespace) is not None

    def run(self, progress: Progress) -> str:  # noqa: ARG002
        """See `Step`."""
        return f"{len(self.backend.objects())} objects"


class Platform(PlatformStep):
    """Namespace, seeds, accounts, claims, services and configuration: what pods need."""

    name: ClassVar[str] = "platform"
    title: ClassVar[str] = "Apply the platform"
    after: ClassVar[tuple[str, ...]] = ("cluster", "manifests")

    def check(self) -> bool:
        """See `Step`."""
        self.backend.forget_cluster()
        require_own_namespace(self.backend)
        require_move(self.backend)
        return not self._seeds_differ() and all(self.backend.is_applied(item) for item in self._foundations())

    def run(self, progress: Progress) -> str:
        """See `Step`."""
        from devenv.vault import mirrored, seeds
        from devenv.vault.keeper import SeedKeeper

        backend = self.backend
        cluster, owner = backend.cluster(), backend.project.identifier
        foundations = self._foundations()
        progress("namespace", None)
        cluster.apply([item for item in foundations if item["kind"] == "Namespace"], owner=owner)
        progress("seeds of secrets", None)
        keeper = SeedKeeper(backend.project, cluster)
        loaded = keeper.load()
        keeper.publish(loaded)
        progress("accounts, claims, services, configuration", None)
        # Between 2.x and 3.x the page's Service has another name, and the same port of the node.
        backend.prune(("Service",))
        cluster.apply([item for item in foundations if item["kind"] != "Namespace"], owner=owner)
        mirrored.apply(backend.project, cluster, seeds.all_secrets(backend.project, loaded))
        return f"{len(foundations)} objects"

    def _foundations(self) -> list[Object]:
        """Without the namespace where somebody else made it: it is then used, and not claimed."""
        backend = self.backend
        live = backend.cluster().get("Namespace", backend.namespace)
        foreign = live is not None and environment_of(live) != backend.project.identifier
        return [item for item in backend.foundations() if not (foreign and item["kind"] == "Namespace")]

    def _seeds_differ(self) -> bool:
        from devenv.vault import seeds
        from devenv.vault.keeper import SeedKeeper

        backend = self.backend
        live = backend.cluster().get("Secret", seeds.SECRET_NAME, backend.namespace)
        if live is None:
            return True
        loaded = SeedKeeper(backend.project, backend.cluster()).load()
        return bool(seeds.seed_secret(backend.project, loaded)["data"] != live.get("data"))


class Components(PlatformStep):
    """Some components: applied as soon as their images are there, then watched until they are ready."""

    after: ClassVar[tuple[str, ...]] = ("platform",)

    def __init__(self, backend: PlatformBackend) -> None:
        super().__init__(backend)
        self._wait: ReadyWait | None = None

    @abstractmethod
    def components(self) -> Sequence[str]:
        """Their names."""

    def check(self) -> bool:
        """See `Step`."""
        return all(self.backend.is_applied(item) for item in self.backend.workloads(self.components()))

    def run(self, progress: Progress) -> str:
        """See `Step`."""
        backend = self.backend
        workloads = backend.workloads(self.components())
        images = list(dict.fromkeys(image for item in workloads for image in images_of(item)))
        progress("waits for images", None)
        backend.wait_for_images(images, self.cancelled)
        if self.cancelled.is_set():
            raise KeyboardInterrupt
        backend.cluster().apply(workloads, owner=backend.project.identifier)
        self._wait = ReadyWait(
            backend.cluster(),
            backend.namespace,
            [waited(item) for item in workloads],
            lambda message: progress(message, None),
        )
        if self.cancelled.is_set():
            raise KeyboardInterrupt
        self._wait.run(_READY_SECONDS)
        return ", ".join(dict.fromkeys(component_of(item) for item in workloads))

    def cancel(self) -> None:
        """See `Step`."""
        super().cancel()
        if self._wait is not None:
            self._wait.cancel()


class Vault(Components):
    """Vault, seeded."""

    name: ClassVar[str] = "vault"
    title: ClassVar[str] = "Start Vault"

    def components(self) -> Sequence[str]:
        """See `Components`."""
        return ["vault"]


class Database(Components):
    """The metadata database."""

    name: ClassVar[str] = "database"
    title: ClassVar[str] = "Start Postgres"

    def components(self) -> Sequence[str]:
        """See `Components`."""
        return ["postgres"]


class Agent(Components):
    """The agent's pod, beside the DAG volume."""

    name: ClassVar[str] = "agent"
    title: ClassVar[str] = "Start the agent"

    def components(self) -> Sequence[str]:
        """See `Components`."""
        return [AGENT]


class Airflow(Components):
    """Airflow itself, and whatever else the settings ask for."""

    name: ClassVar[str] = "airflow"
    title: ClassVar[str] = "Start Airflow"

    def components(self) -> Sequence[str]:
        """See `Components`."""
        others = {"vault", "postgres", AGENT}
        return [name for item in self.backend.workloads() if (name := component_of(item)) not in others]

    def run(self, progress: Progress) -> str:
        """See `Step`."""
        said = super().run(progress)
        self.backend.prune()
        return said


def shared_steps(backend: PlatformBackend) -> list[Step]:
    """The steps after preflight and cluster, for both backends."""
    return [
        Build(backend),
        Manifests(backend),
        Platform(backend),
        Vault(backend),
        Database(backend),
        Airflow(backend),
        Agent(backend),
    ]


def namespace_owner(backend: PlatformBackend) -> tuple[str, str]:
    """Whose environment is in the namespace, and in which folder: ("", "") for nobody's."""
    from devenv.cluster.objects import FOLDER_ANNOTATION

    live = backend.cluster().get("Namespace", backend.namespace)
    if live is None:
        return "", ""
    return environment_of(live), str((live["metadata"].get("annotations") or {}).get(FOLDER_ANNOTATION, ""))


def require_own_namespace(backend: PlatformBackend) -> None:
    """Refuses to go on where the namespace holds another project's environment.

    Raises:
        NamespaceOwned: it does.
    """
    owner, folder = namespace_owner(backend)
    if owner and owner != backend.project.identifier:
        where = f", {folder}" if folder else ""
        raise NamespaceOwned(
            f"Namespace {backend.namespace} of context {backend.context} belongs to environment {owner}{where}",
            hint="devenv up --profile NAME, for a minikube of its own; or set [kubernetes] namespace in devenv.toml.",
        )


def answers(backend: PlatformBackend) -> bool:
    """Whether the API server answers and is ready."""
    try:
        backend.cluster().request("GET", "/readyz", timeout=5)
    except DevenvError:
        return False
    return True
