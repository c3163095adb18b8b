"""The steps that only minikube has: preflight, the cluster itself, images into its node; and their reverse."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, ClassVar

from devenv import ports
from devenv.boot.step import Progress, Step
from devenv.cluster.errors import ClusterError, ClusterUnreachable
from devenv.cluster.objects import ENVIRONMENT_LABEL
from devenv.errors import DevenvError
from devenv.events import Notice
from devenv.minikube import preflight
from devenv.minikube.errors import PortTaken
from devenv.minikube.images import laptop_images
from devenv.minikube.kubeconfig import prepare
from devenv.minikube.node import forget_spare, publish_anew
from devenv.platform.preflight import require_readable
from devenv.platform.waiting import is_stale

if TYPE_CHECKING:
    from devenv.minikube.backend import MinikubeBackend

RUNTIME_UP = "Preparing Kubernetes"
"""minikube's step at whose start the node's container runtime is configured and runs for good."""


class MinikubeStep(Step):
    """A step of this backend."""

    def __init__(self, backend: MinikubeBackend) -> None:
        self.backend = backend


class Preflight(MinikubeStep):
    """What would make the boot fail later is told now."""

    name: ClassVar[str] = "preflight"
    title: ClassVar[str] = "Check this machine"

    def check(self) -> bool:
        """See `Step`: a profile of ours that runs needs no more looking at."""
        backend = self.backend
        require_readable(backend.project.dag_folder)
        profile = backend.profile(anew=True)
        if profile is None:
            return False
        backend.require_owner(profile)
        return not backend.stopped()

    def run(self, progress: Progress) -> str:  # noqa: ARG002
        """See `Step`."""
        backend = self.backend
        for warning in preflight.check(backend.project, creating=backend.profile() is None):
            backend.report(Notice("warning", warning))
        return ""


_KUBELET_SECONDS = 120.0
_ANSWER_SECONDS = 60.0
_STORAGE_ADDONS = ("storage-provisioner", "default-storageclass")
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_PROVISIONER = "k8s.io/minikube-hostpath"
_CLOCK_SECONDS = 2.0
"""By how much a node's clock may be behind the laptop's."""


class StartCluster(MinikubeStep):
    """minikube, made or started again."""

    name: ClassVar[str] = "cluster"
    title: ClassVar[str] = "Start minikube"
    after: ClassVar[tuple[str, ...]] = ("preflight",)

    def __init__(self, backend: MinikubeBackend) -> None:
        super().__init__(backend)
        self._cancelled = threading.Event()

    def check(self) -> bool:
        """See `Step`; a node that runs is not enough: Docker Desktop's restart leaves it without an API server."""
        backend = self.backend
        if backend.profile() is None or backend.stopped() or not backend.answers():
            return False
        backend.runtime_up.set()
        backend.share_context()
        return has_storage(backend)

    def run(self, progress: Progress) -> str:
        """See `Step`."""
        backend = self.backend

        def told(message: str, fraction: float | None) -> None:
            if message == RUNTIME_UP:
                backend.profile(anew=True)
                backend.runtime_up.set()
            progress(message, fraction)

        profile = backend.profile()
        settings, owner = backend.project.settings.minikube, backend.project.identifier
        try:
            if profile is None:
                ports = backend.chosen_ports() if preflight.uses_docker(backend.project) else {}
                prepare(backend.kubeconfig)
                backend.minikube.start(settings, told, owner=owner, ports=ports, create=True)
            elif backend.stopped() or not backend.answers():
                self._start_again(told)
        finally:
            backend.profile(anew=True)
            backend.forget_cluster()
            backend.runtime_up.set()
        found = backend.profile()
        if found is not None:
            backend.require_owner(found)
        backend.share_context()
        if not has_storage(backend):
            progress("the default storage class and its provisioner", None)
            for addon in _STORAGE_ADDONS:
                backend.minikube.enable_addon(addon)
        return f"Kubernetes {found.kubernetes}" if found else ""

    def _start_again(self, progress: Progress) -> None:
        """A stopped profile; where a port that it publishes is held by somebody else, its node gets another."""
        backend = self.backend
        profile = backend.profile()
        assert profile is not None
        docker = profile.driver == "docker"
        state = backend.node().state if docker else backend.minikube.status().apiserver.lower()
        if state == "paused":
            backend.minikube.unpause(progress)
            if backend.answers():
                return
        if backend.minikube.status().running:
            # `minikube start` may reset a cluster that works (kubernetes/minikube#12655).
            self._wait_for_answer(progress)
            return
        preflight.before_start(backend.project, profile)
        prepare(backend.kubeconfig)
        if docker and state in ("exited", "created"):
            self._free_ports(progress)
        owner = backend.project.identifier
        before = backend.project.environment.now()
        backend.minikube.start(backend.project.settings.minikube, progress, owner=owner, ports={}, create=False)
        backend.forget_cluster()
        self._wait_for_kubelet(before - _CLOCK_SECONDS, progress)

    def _wait_for_answer(self, progress: Progress) -> None:
        """Until the API server of a node that minikube finds well answers here."""
        backend = self.backend
        progress("waits for the API server", None)
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not backend.answers():
            if time.monotonic() > deadline or self._cancelled.wait(1.0):
                raise ClusterUnreachable(
                    f"minikube's node {backend.minikube.profile} runs, and its API server does not answer on this "
                    "machine",
                    hint="check VPN, firewall and proxy (NO_PROXY), then `devenv up`; devenv doctor",
                )

    def _wait_for_kubelet(self, since: float, progress: Progress) -> None:
        """Until no pod is said to be ready by a container that ended when the node was stopped."""
        backend = self.backend
        labels = f"{ENVIRONMENT_LABEL}={backend.project.identifier}"
        deadline = time.monotonic() + _KUBELET_SECONDS
        progress("the kubelet looks at its pods", None)
        while time.monotonic() < deadline and not self._cancelled.wait(0.5):
            with contextlib.suppress(ClusterError):  # the API server settles
                if not any(
                    is_stale(pod, since) for pod in backend.cluster().list("Pod", backend.namespace, labels=labels)
                ):
                    return

    def _free_ports(self, progress: Progress) -> None:
        """Other ports for a node whose own are taken; it could not start with them."""
        import docker.errors

        backend = self.backend
        taken = [port for port in backend.published().values() if not ports.is_free(port)]
        if not taken:
            return
        progress("other ports, because its own are taken", None)
        variables = backend.project.environment.variables
        try:
            publish_anew(backend.minikube.profile, backend.chosen_ports(), variables)
        except docker.errors.DockerException as error:
            held = " and ".join(f"port {port}{ports.holder(port)}" for port in taken)
            raise PortTaken(
                f"minikube's node publishes {held}, which is taken, and could not be given another: {error}",
                hint="End that program, then `devenv up`.",
            ) from error

    def cancel(self) -> None:
        """See `Step`."""
        self._cancelled.set()
        self.backend.minikube.cancel()


def has_storage(backend: MinikubeBackend) -> bool:
    """Whether claims will be bound: a default storage class, and the pod that serves it where that is minikube's own.

    Both are missing after a start of minikube that failed before its addons.

    Raises:
        ClusterError: the cluster does not answer.
    """
    if backend.project.settings.kubernetes.storage_class:
        return True
    classes = backend.cluster().list("StorageClass")
    default = [item for item in classes if (item["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"]
    if not default:
        return False
    if all(item["provisioner"] != _PROVISIONER for item in default):
        return True
    return backend.cluster().get("Pod", "storage-provisioner", "kube-system") is not None


class LoadImages(MinikubeStep):
    """The images that the laptop's Docker engine has, into the node."""

    name: ClassVar[str] = "images"
    title: ClassVar[str] = "Load images"
    after: ClassVar[tuple[str, ...]] = ("build", "manifests")

    def __init__(self, backend: MinikubeBackend) -> None:
        super().__init__(backend)
        self._missing: list[str] = []
        self._cancelled = threading.Event()

    def check(self) -> bool:
        """See `Step`."""
        backend = self.backend
        if not backend.runtime_up.is_set() and backend.stopped():
            return False
        self._missing = self._find_missing()
        return not self._missing

    def run(self, progress: Progress) -> str:
        """See `Step`."""
        backend = self.backend
        if backend.profile() is None and preflight.uses_docker(backend.project):
            self._missing = list(laptop_images(backend.wanted_images(), backend.project.environment))
            backend.loader.plan(self._missing)
            if self._missing:
                backend.loader.gather(self._missing)
        progress("waits for the node", None)
        backend.runtime_up.wait()
        if self._cancelled.is_set():
            raise KeyboardInterrupt
        missing = self._missing or self._find_missing()
        if not missing:
            return ""
        progress(", ".join(missing), None)
        try:
            backend.deliver(missing, backend.build_output(self.name))
        except DevenvError as error:
            # The node may still be able to pull them: what it says then is told by the steps that wait for pods.
            backend.report(Notice("warning", error.message, error.hint or ""))
        finally:
            backend.loader.done(missing)
        return ", ".join(missing)

    def _find_missing(self) -> list[str]:
        backend = self.backend
        here = laptop_images(backend.wanted_images(), backend.project.environment)
        missing = backend.loader.missing(here, streams=bool(backend.runtime()))
        backend.loader.plan(missing)
        return missing

    def cancel(self) -> None:
        """See `Step`."""
        self._cancelled.set()
        self.backend.runtime_up.set()
        self.backend.loader.cancel()


class StopCluster(MinikubeStep):
    """minikube stopped, its data kept."""

    name: ClassVar[str] = "cluster"
    title: ClassVar[str] = "Stop minikube"

    def check(self) -> bool:
        """See `Step`."""
        backend = self.backend
        profile = backend.profile(anew=True)
        if profile is None:
            return True
        backend.require_owner(profile)
        return bool(backend.stopped())

    def run(self, progress: Progress) -> str:
        """See `Step`."""
        self.backend.minikube.stop(progress)
        return "the data stays"

    def cancel(self) -> None:
        """See `Step`."""
        self.backend.minikube.cancel()


class DeleteCluster(MinikubeStep):
    """The profile deleted, with everything in it."""

    name: ClassVar[str] = "cluster"
    title: ClassVar[str] = "Delete minikube's profile"

    def check(self) -> bool:
        """See `Step`."""
        return not self.backend.destroys()

    def run(self, progress: Progress) -> str:
        """See `Step`."""
        backend = self.backend
        backend.require_ours()
        backend.unshare_context()
        backend.minikube.delete(progress)
        backend.kubeconfig.unlink(missing_ok=True)
        forget_spare(backend.minikube.profile, backend.project.environment.variables)
        backend.image.forget()
        return backend.minikube.profile

    def cancel(self) -> None:
        """See `Step`."""
        self.backend.minikube.cancel()
