"""The backend `kubernetes`: the same platform in a cluster that the user names, for those who outgrow a laptop."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from devenv.boot.step import Progress
from devenv.cluster.errors import AccessDenied, ClusterUnreachable
from devenv.cluster.kubectl import kubectl_command
from devenv.cluster.objects import ENVIRONMENT_LABEL, Object, Objects, component_of, environment_of
from devenv.errors import CommandFailed, PlatformError, UsageError
from devenv.events import Notice, Reporter
from devenv.platform.backend import PlatformBackend
from devenv.platform.preflight import require_readable
from devenv.platform.steps import PlatformStep, answers, namespace_owner, require_own_namespace, shared_steps
from devenv.platform.waiting import is_ready
from devenv.process import run
from devenv.project import Project

if TYPE_CHECKING:
    from devenv.boot.step import Step

_SHARED_CLAIMS = ("airflow-dag-pvc", "airflow-logs")
_SHARES_VOLUMES = "devenv.io/shares-volumes"
"""On pods that mount a shared claim, where these must all be on one node."""
_REMOVED = (
    "Deployment",
    "StatefulSet",
    "Job",
    "Pod",
    "PodDisruptionBudget",
    "Service",
    "ConfigMap",
    "Secret",
    "RoleBinding",
    "Role",
    "ServiceAccount",
    "PersistentVolumeClaim",
)
_CLUSTER_WIDE = "ClusterRoleBinding"
_CLAIM_SECONDS = 120.0
"""How long a claim may take to go: the pods that mount it end first."""
_NEEDED = (("create", "deployments", "apps"), ("create", "persistentvolumeclaims", ""), ("create", "pods/exec", ""))


class ContextNotNamed(UsageError):
    """The backend `kubernetes` needs the context by name; devenv never uses the current one.

    So that no `kubectl config use-context` in another terminal turns a boot or a `destroy` towards production.
    """

    code = "DEVENV-220"


class RegistryMissing(UsageError):
    """The project's own image must reach a cluster that is not on this machine, and no registry is set."""

    code = "DEVENV-221"


class ImageNotPushed(PlatformError):
    """The project's image could not be pushed to the registry."""

    code = "DEVENV-222"


class KubernetesBackend(PlatformBackend):
    """See `Backend`."""

    name: Literal["minikube", "kubernetes", "local"] = "kubernetes"

    def __init__(self, project: Project, reason: str, report: Reporter) -> None:
        super().__init__(project, reason, report)
        if not project.settings.kubernetes.context:
            raise ContextNotNamed(
                "The backend kubernetes needs the name of a context",
                hint="devenv up --backend kubernetes --context NAME; `kubectl config get-contexts` lists them.",
            )
        self._said_placement = False
        self._said_binding = False

    @property
    def context(self) -> str:
        """The one that was named."""
        return str(self.project.settings.kubernetes.context)

    @property
    def airflow_image(self) -> str:
        """The project's own image under the registry's name, from which the nodes pull it."""
        registry = self.project.settings.kubernetes.image_registry
        return f"{registry.rstrip('/')}/{self.image.name}" if self.image.is_built and registry else self.image.name

    def kubectl(self) -> list[str]:
        """See `PlatformBackend`."""
        return kubectl_command(self.context, self.project.environment.variables)

    def published(self) -> Mapping[str, int]:
        """See `PlatformBackend`: nothing; devenv forwards."""
        return {}

    def wait_for_images(self, images: Iterable[str], cancelled: threading.Event) -> None:
        """See `PlatformBackend`: the nodes pull."""

    def deliver(self, images: Sequence[str], output: Callable[[str], None]) -> None:
        """See `PlatformBackend`: pushes the project's own image to the registry."""
        variables = self.project.environment.variables
        try:
            for image in images:
                run(["docker", "tag", self.image.name, image], variables=variables)
                output(run(["docker", "push", image], variables=variables).stdout.strip())
        except CommandFailed as error:
            raise ImageNotPushed(
                f"{', '.join(images)} could not be pushed", hint="docker login, then `devenv up`.", detail=error.detail
            ) from error

    def foundations(self) -> Objects:
        """See `PlatformBackend`; without what only an administrator of the cluster may make."""
        found = super().foundations()
        if self.may_bind:
            return found
        binding = next(item for item in found if item["kind"] == _CLUSTER_WIDE)["metadata"]["name"]
        if not self._said_binding and not self._has_logged_in():
            self._said_binding = True
            self.report(
                Notice(
                    "warning",
                    f"Vault's logins need {_CLUSTER_WIDE} {binding}, which your account may not make; unless an "
                    "administrator has made it, no pod gets its secrets",
                    f"An administrator types: kubectl create clusterrolebinding {binding} "
                    f"--clusterrole=system:auth-delegator --serviceaccount={self.namespace}:vault",
                )
            )
        return [item for item in found if item["kind"] != _CLUSTER_WIDE]

    def _has_logged_in(self) -> bool:
        """Whether Vault has let somebody in: Postgres runs with a password from there."""
        live = self.cluster().get("StatefulSet", "postgres", self.namespace)
        return live is not None and is_ready(live) and int(live["spec"].get("replicas", 1)) > 0

    @functools.cached_property
    def may_bind(self) -> bool:
        """Whether this account may read, make and remove a ClusterRoleBinding."""
        group = "rbac.authorization.k8s.io"
        return all(
            self.cluster().can_i(verb, "clusterrolebindings", group=group) for verb in ("list", "patch", "delete")
        )

    def arrange(self, objects: Objects) -> Objects:
        """See `PlatformBackend`: where there are several nodes, volumes that all pods can mount."""
        nodes = self._nodes()
        if nodes == 1:
            return objects
        shared = [
            item
            for item in objects
            if item["kind"] == "PersistentVolumeClaim" and item["metadata"]["name"] in _SHARED_CLAIMS
        ]
        for item in shared:
            live = self.cluster().get("PersistentVolumeClaim", item["metadata"]["name"], self.namespace)
            if live is not None:
                # How a claim can be mounted never changes, also where it was made before there were several nodes.
                item["spec"]["accessModes"] = live["spec"]["accessModes"]
            elif self.project.settings.kubernetes.storage_class:
                item["spec"]["accessModes"] = ["ReadWriteMany"]
        if all(item["spec"]["accessModes"] == ["ReadWriteMany"] for item in shared):
            return objects
        if not self._said_placement:
            self._said_placement = True
            self.report(
                Notice(
                    "info",
                    f"{f'{nodes} nodes' if nodes else 'nodes that your account may not see'} and no storage class for "
                    "shared volumes: every pod with the DAG volume runs on the agent's node",
                    "To use them all, set kubernetes.storage_class to one with ReadWriteMany before the first `up`.",
                )
            )
        return [_on_one_node(item) for item in objects]

    def _nodes(self) -> int:
        """How many nodes take pods like ours; 0 when this account may not look."""
        try:
            nodes = self.cluster().list("Node")
        except AccessDenied:
            return 0
        return max(1, sum(_takes_pods(node["spec"]) for node in nodes))

    def up_steps(self) -> Sequence[Step]:
        """See `Backend`."""
        return [Preflight(self), Connect(self), PushImage(self), *shared_steps(self)]

    def down_steps(self) -> Sequence[Step]:
        """See `Backend`."""
        return [ScaleDown(self)]

    def destroy_steps(self) -> Sequence[Step]:
        """See `Backend`."""
        return [Remove(self)]

    def destroys(self) -> Sequence[str]:
        """See `Backend`."""
        owner, _folder = namespace_owner(self)
        if owner == self.project.identifier:
            return [f"namespace {self.namespace} of context {self.context}, with its volumes"]
        place = f" in namespace {self.namespace}"
        return [f"{kind} {name}{'' if kind == _CLUSTER_WIDE else place}" for kind, name in self.own_objects()]

    def own_objects(self) -> list[tuple[str, str]]:
        """What carries this environment's label, in the order in which it is removed; workloads take pods along."""
        labels = f"{ENVIRONMENT_LABEL}={self.project.identifier}"
        return [
            (kind, item["metadata"]["name"])
            for kind in (*_REMOVED, *([_CLUSTER_WIDE] if self.may_bind else []))
            for item in self.cluster().list(kind, self.namespace, labels=labels)
            if not item["metadata"].get("ownerReferences")
        ]


class KubernetesStep(PlatformStep):
    """A step of this backend."""

    backend: KubernetesBackend


class Preflight(KubernetesStep):
    """What can be known without the cluster."""

    name: ClassVar[str] = "preflight"
    title: ClassVar[str] = "Check this machine"

    def check(self) -> bool:
        """See `Step`: nothing here takes time."""
        backend = self.backend
        require_readable(backend.project.dag_folder)
        backend.cluster()
        if backend.image.is_built and not backend.project.settings.kubernetes.image_registry:
            raise RegistryMissing(
                f"{backend.image.name} must reach the cluster of context {backend.context}, and no registry is set",
                hint='Set kubernetes.image_registry = "registry.example.com/team" in devenv.toml.',
            )
        return True

    def run(self, progress: Progress) -> str:  # noqa: ARG002
        """See `Step`."""
        return ""


class Connect(KubernetesStep):
    """The cluster answers, and this user may do what is needed."""

    name: ClassVar[str] = "cluster"
    title: ClassVar[str] = "Reach the cluster"
    after: ClassVar[tuple[str, ...]] = ("preflight",)

    def check(self) -> bool:
        """See `Step`: an environment of ours is there already, so we may do what it takes."""
        from devenv.vault.seeds import SECRET_NAME

        backend = self.backend
        if not answers(backend):
            return False
        require_own_namespace(backend)
        seed = backend.cluster().get("Secret", SECRET_NAME, backend.namespace)
        return seed is not None and environment_of(seed) == backend.project.identifier

    def run(self, progress: Progress) -> str:  # noqa: ARG002
        """See `Step`."""
        backend = self.backend
        cluster = backend.cluster()
        if not answers(backend):
            raise ClusterUnreachable(
                f"The cluster of context {backend.context!r} does not answer at {cluster.access.server}",
                hint=f"kubectl --context {backend.context} get nodes",
            )
        require_own_namespace(backend)
        for verb, resource, group in _NEEDED:
            if not cluster.can_i(verb, resource, backend.namespace, group=group):
                raise AccessDenied(
                    f"Your account in context {backend.context} may not {verb} {resource} in {backend.namespace}",
                    hint="Ask the cluster's administrator for the role `admin` in that namespace.",
                )
        return f"Kubernetes {cluster.version()}"


class PushImage(KubernetesStep):
    """The project's own image, to the registry."""

    name: ClassVar[str] = "images"
    title: ClassVar[str] = "Push the image"
    after: ClassVar[tuple[str, ...]] = ("build",)

    def check(self) -> bool:
        """See `Step`."""
        return not self.backend.image.is_built

    def run(self, progress: Progress) -> str:
        """See `Step`."""
        backend = self.backend
        progress(backend.airflow_image, None)
        backend.deliver([backend.airflow_image], backend.build_output(self.name))
        return backend.airflow_image


class ScaleDown(KubernetesStep):
    """No pods, all data."""

    name: ClassVar[str] = "cluster"
    title: ClassVar[str] = "Stop the pods"

    def check(self) -> bool:
        """See `Step`."""
        return not self._running()

    def run(self, progress: Progress) -> str:
        """See `Step`."""
        backend = self.backend
        for item in self._running():
            progress(component_of(item), None)
            backend.cluster().merge(
                item["kind"], item["metadata"]["name"], backend.namespace, {"spec": {"replicas": 0}}
            )
        return "the data stays"

    def _running(self) -> list[Object]:
        backend = self.backend
        labels = f"{ENVIRONMENT_LABEL}={backend.project.identifier}"
        return [
            item
            for kind in ("Deployment", "StatefulSet")
            for item in backend.cluster().list(kind, backend.namespace, labels=labels)
            if int(item["spec"].get("replicas", 1)) > 0
        ]


class Remove(KubernetesStep):
    """Everything with this environment's label; the namespace only where devenv made it."""

    name: ClassVar[str] = "cluster"
    title: ClassVar[str] = "Remove the environment"

    def check(self) -> bool:
        """See `Step`."""
        return not self.backend.destroys()

    def run(self, progress: Progress) -> str:
        """See `Step`."""
        backend = self.backend
        cluster = backend.cluster()
        own = backend.own_objects()
        for kind, name in own:
            progress(f"{kind} {name}", None)
            cluster.delete(kind, name, backend.namespace)
        live = cluster.get("Namespace", backend.namespace)
        if live is not None and environment_of(live) == backend.project.identifier:
            progress(f"namespace {backend.namespace}", None)
            cluster.delete("Namespace", backend.namespace, wait_seconds=180)
        for kind, name in own:
            if kind == "PersistentVolumeClaim":
                # The next `up` would find it, and lose it.
                progress(f"waits for {kind} {name} to be gone", None)
                cluster.delete(kind, name, backend.namespace, wait_seconds=_CLAIM_SECONDS)
        backend.image.forget()
        return ""


def _takes_pods(spec: Object) -> bool:
    """Whether a node takes pods that tolerate nothing."""
    effects = {taint.get("effect") for taint in spec.get("taints") or []}
    return not spec.get("unschedulable") and effects.isdisjoint({"NoSchedule", "NoExecute"})


def _on_one_node(item: Object) -> Object:
    """An object whose pods, if they mount the shared claims, all run on one node; task pods' template too."""
    import yaml

    data = item.get("data") or {}
    if item["kind"] == "ConfigMap" and "pod-template.yaml" in data:
        pod = yaml.safe_load(data["pod-template.yaml"])
        _place(pod)
        data["pod-template.yaml"] = yaml.safe_dump(pod, sort_keys=False)
    template = (item.get("spec") or {}).get("template")
    if template is not None:
        _place(template)
    return item


def _place(pod: Object) -> None:
    """Sends a pod to where those are that mount the same volumes; the first of them goes anywhere.

    Not to where the agent is: an agent that is replaced would itself be free to go to another node, where its volume
    cannot follow while others mount it. A pod that matches its own rule may be the first:
    https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
    """
    claims = {
        (volume.get("persistentVolumeClaim") or {}).get("claimName") for volume in pod["spec"].get("volumes") or []
    }
    if not claims.intersection(_SHARED_CLAIMS):
        return
    pod["metadata"].setdefault("labels", {})[_SHARES_VOLUMES] = "true"
    pod["spec"].setdefault("affinity", {})["podAffinity"] = {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {_SHARES_VOLUMES: "true"}}, "topologyKey": "kubernetes.io/hostname"}
        ]
    }
