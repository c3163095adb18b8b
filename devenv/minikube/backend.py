"""The backend `minikube`: a profile of its own, with one environment in it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from devenv import ports
from devenv.cluster.kubectl import kubectl_command
from devenv.errors import CommandFailed, DevenvError, TimedOut
from devenv.events import Notice, Reporter
from devenv.minikube.cached_answer import CachedAnswer
from devenv.minikube.errors import ImagesNotLoaded, ProfileDamaged, ProfileNotOurs, ProfileOwned, SeveralNodes
from devenv.minikube.images import Loader, laptop_images
from devenv.minikube.kubeconfig import has_context, own_kubeconfig, prepare, share, unshare
from devenv.minikube.node import Node, inspect
from devenv.minikube.profile_files import require_whole
from devenv.minikube.program import Minikube, Profile
from devenv.platform.backend import PlatformBackend
from devenv.platform.status import images_of
from devenv.platform.steps import answers, namespace_owner, shared_steps
from devenv.project import Project

if TYPE_CHECKING:
    from devenv.boot.step import Step
    from devenv.cluster.connection import Cluster

NODE_PORTS = {"airflow": 30080, "vault": 30820}
"""The ports of the node on which the Services of `minikube/base` answer."""
_NODE_SECONDS = 1.0
"""How long a look at the node's container serves: `devenv status` needs it in five places."""


class MinikubeBackend(PlatformBackend):
    """See `Backend`."""

    name: Literal["minikube", "kubernetes", "local"] = "minikube"

    def __init__(self, project: Project, reason: str, report: Reporter) -> None:
        super().__init__(project, reason, report)
        self.kubeconfig: Path = own_kubeconfig(project)
        self.minikube = Minikube(project.settings.minikube.profile, project.environment, self.kubeconfig)
        self.loader = Loader(self.minikube, project.environment)
        self.runtime_up = threading.Event()
        self._bringing = threading.Lock()
        self._brought: dict[str, bool] = {}
        self._profile: CachedAnswer[Profile | None] = CachedAnswer(self._find, math.inf)
        self._node = CachedAnswer(lambda: inspect(self.minikube.profile, project.environment.variables), _NODE_SECONDS)

    @property
    def context(self) -> str:
        """Minikube names the context as the profile."""
        return self.minikube.profile

    def kubectl(self) -> list[str]:
        """See `PlatformBackend`."""
        variables = self.project.environment.variables
        return kubectl_command(
            self.context, variables, minikube_profile=self.minikube.profile, kubeconfig=self.kubeconfig
        )

    def cluster(self) -> Cluster:
        """See `PlatformBackend`; where devenv's own kubeconfig lacks the context of a node that runs, it is written."""
        if not has_context(self.kubeconfig, self.context) and not self.stopped():
            self._write_context()
        return super().cluster()

    def _write_context(self) -> bool:
        if not has_context(self.kubeconfig, self.context):
            self.kubeconfig.unlink(missing_ok=True)  # it may be damaged, which minikube refuses
        prepare(self.kubeconfig)
        try:
            self.minikube.update_context()
        except (CommandFailed, TimedOut):
            return False  # that there is no context is the error to show
        self.forget_cluster()
        return True

    def answers(self) -> bool:
        """Whether the API server answers, after a look at where it is where the kubeconfig has it wrong or not at all.

        Nothing is started or changed but devenv's own kubeconfig.
        """
        if has_context(self.kubeconfig, self.context) and answers(self):
            return True
        return self._write_context() and answers(self)

    def share_context(self) -> None:
        """Adds the context to the user's kubeconfig, with a notice where that is not possible."""
        environment = self.project.environment
        kubectl = self.kubectl()[: -len(["--kubeconfig", "FILE", "--context", "NAME"])]
        why = share(self.context, self.kubeconfig, kubectl, environment.variables, environment.home)
        if why:
            notice = f"context {self.context} was not added to your kubeconfig: {why}"
            self.report(Notice("info", notice, 'eval "$(devenv env)"'))

    def unshare_context(self) -> None:
        """Takes the context out of the user's kubeconfig, before the cluster is deleted."""
        environment = self.project.environment
        kubectl = self.kubectl()[: -len(["--kubeconfig", "FILE", "--context", "NAME"])]
        unshare(self.context, self.kubeconfig, kubectl, environment.variables, environment.home)

    def _find(self) -> Profile | None:
        environment = self.project.environment
        name = self.minikube.profile
        require_whole(name, environment.variables, environment.home, has_node=lambda: bool(self.node().state))
        return self.minikube.find()

    def profile(self, *, anew: bool = False) -> Profile | None:
        """The profile as minikube has it; looked up once."""
        if anew:
            self._profile.forget()
            self._node.forget()
        return self._profile()

    def published(self) -> Mapping[str, int]:
        """See `PlatformBackend`: what minikube published when the profile was made, where its driver can."""
        profile = self.profile()
        if profile is None or profile.driver != "docker":
            return {}
        names = {NODE_PORTS["airflow"]: self.release.page, NODE_PORTS["vault"]: "vault"}
        return {names[node]: here for node, here in self.node().ports.items() if node in names}

    def node(self) -> Node:
        """The node's container, as Docker had it within the last second."""
        return self._node()

    def runtime(self) -> str:
        """The container runtime of a node that is itself a container; "" for another driver's node."""
        profile = self.profile()
        return profile.runtime if profile is not None and profile.driver == "docker" else ""

    def wanted_images(self) -> list[str]:
        """The images that the platform runs, the largest first: everything needs Airflow's."""
        images = [image for item in self.workloads() for image in images_of(item)]
        return sorted(dict.fromkeys(images), key=lambda image: image != self.airflow_image)

    def wait_for_images(self, images: Iterable[str], cancelled: threading.Event) -> None:
        """See `PlatformBackend`."""
        self.loader.wait(images, cancelled)

    def deliver(self, images: Sequence[str], output: Callable[[str], None]) -> None:  # noqa: ARG002
        """See `PlatformBackend`."""
        self.loader.load(images, self.runtime())

    def bring_image(self, image: str) -> bool:
        """See `PlatformBackend`."""
        with self._bringing:
            if image not in self._brought and laptop_images([image], self.project.environment):
                try:
                    self.loader.load([image], self.runtime())
                    self._brought[image] = True
                except ImagesNotLoaded:
                    self._brought[image] = False
            return self._brought.get(image, False)

    def stopped(self) -> str:
        """See `PlatformBackend`; for the docker driver without waiting for an address that nobody has."""
        profile = self.profile()
        if profile is None:
            return "missing"
        if profile.driver == "docker":
            return "" if self.node().state == "running" else "stopped"
        return "" if self.minikube.status().running else "stopped"

    def up_steps(self) -> Sequence[Step]:
        """See `Backend`."""
        from devenv.minikube import steps

        return [
            steps.Preflight(self),
            steps.StartCluster(self),
            steps.LoadImages(self),
            *shared_steps(self),
        ]

    def down_steps(self) -> Sequence[Step]:
        """See `Backend`."""
        from devenv.minikube import steps

        return [steps.StopCluster(self)]

    def destroy_steps(self) -> Sequence[Step]:
        """See `Backend`."""
        from devenv.minikube import steps

        return [steps.DeleteCluster(self)]

    def destroys(self) -> Sequence[str]:
        """See `Backend`."""
        if not self.require_ours():
            return []
        name = self.minikube.profile
        return [f"minikube's profile {name}, with Airflow's database, task logs, Vault and the DAG volume"]

    def require_ours(self) -> bool:
        """Whether there is a profile to delete.

        One whose files are damaged does not say who made it; that devenv's own kubeconfig has its context does.

        Raises:
            ProfileOwned, ProfileNotOurs, SeveralNodes: see `require_owner`.
            ProfileDamaged: and nothing shows that devenv made it.
        """
        try:
            profile = self.profile(anew=True)
        except ProfileDamaged:
            if not has_context(self.kubeconfig, self.context):
                raise
            return True
        if profile is not None:
            self.require_owner(profile)
        return profile is not None

    def require_owner(self, profile: Profile) -> None:
        """Refuses a profile that devenv did not make for this project, or that has several nodes.

        Raises:
            ProfileOwned: it is another project's.
            ProfileNotOurs: devenv did not make it.
            SeveralNodes: as it says.
        """
        mine = self.project.identifier
        owner, folder = profile.owner, ""
        if owner != mine and not self.stopped():
            try:
                in_namespace, folder = namespace_owner(self)
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
                hint=f"devenv up --profile NAME, for one of devenv's own; or `minikube delete -p {profile.name}` if it "
                "is no longer needed.",
            )
        if profile.nodes > 1:
            raise SeveralNodes(
                f"minikube's profile {profile.name} has {profile.nodes} nodes; its volumes are folders of one node, so "
                "the DAG folder would differ from pod to pod",
                hint=f"minikube node delete -p {profile.name} NODE, or devenv up --profile NAME.",
            )

    def chosen_ports(self) -> dict[int, int]:
        """Node port → a free port on 127.0.0.1, for a new profile; those of the settings first."""
        wanted = self.project.settings.ports
        taken: set[int] = set()
        return {
            NODE_PORTS["airflow"]: ports.choose(wanted.airflow, "Airflow", self.report, taken=taken),
            NODE_PORTS["vault"]: ports.choose(wanted.vault, "Vault", self.report, taken=taken),
        }
