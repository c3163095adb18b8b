"""What the two cluster backends share: everything but where the cluster comes from and how images reach it."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from devenv import ports, process
from devenv.airflow.rest import Credentials
from devenv.backends.base import Component, EnvironmentStatus, LogQuery, Surroundings, TaskRunner
from devenv.cluster.errors import ClusterError, ClusterUnreachable, ContextMissing
from devenv.cluster.kinds import starts_pods
from devenv.cluster.objects import ENVIRONMENT_LABEL, Object, Objects, component_of, environment_of
from devenv.components import PAGES
from devenv.errors import DevenvError
from devenv.events import Notice, Output, Reporter
from devenv.files import write_whole
from devenv.platform.agent_session import AGENT, AgentSessions
from devenv.platform.errors import NotDeployed
from devenv.platform.image import ProjectImage
from devenv.platform.status import component_status
from devenv.platform.waiting import diagnose, is_ready, ready_pods
from devenv.project import Project

if TYPE_CHECKING:
    import subprocess

    import hvac

    from devenv.airflow.client import AirflowClient
    from devenv.airflow.model import TaskKey
    from devenv.airflow.releases import Release
    from devenv.boot.step import Step
    from devenv.cluster.connection import Cluster
    from devenv.cluster.forward import Forward
    from devenv.events import LogLine
    from devenv.sync.model import Listener, Target
    from devenv.vault.keeper import SeedKeeper
    from devenv.vault.staleness import StalePod

WORKLOADS = ("Deployment", "StatefulSet")
PRUNED = (*WORKLOADS, "Service", "ConfigMap", "PodDisruptionBudget", "RoleBinding", "Role", "ServiceAccount")
"""What a component leaves when it is switched off; claims and Secrets are never deleted with it."""

_DIGEST = "devenv.io/applied"
"""On each object: a digest of what was applied, so that a second `up` sees that there is nothing to do."""


class PlatformBackend(ABC):
    """An environment in a Kubernetes cluster; see `devenv.backends.base.Backend`.

    Args:
        project: whose.
        reason: why this backend.
        report: takes notices that belong to no step.
    """

    name: Literal["minikube", "kubernetes", "local"]

    def __init__(self, project: Project, reason: str, report: Reporter) -> None:
        self.project = project
        self.reason = reason
        self.report = report
        self.image = ProjectImage(project)
        self._lock = threading.Lock()
        self._rendering = threading.Lock()
        self._cluster: Cluster | None = None
        self._forwards: dict[str, Forward] = {}
        self._agent_sessions = AgentSessions(self)
        self._objects: Objects | None = None

    # --- what the two differ in ---

    @property
    @abstractmethod
    def context(self) -> str:
        """The context's name."""

    kubeconfig: Path | None = None
    """The file that has the context; None for those of the user."""

    @abstractmethod
    def kubectl(self) -> list[str]:
        """The words with which kubectl is called for this context."""

    @abstractmethod
    def published(self) -> Mapping[str, int]:
        """Component → port on 127.0.0.1 that answers without any help of devenv's."""

    @abstractmethod
    def up_steps(self) -> Sequence[Step]:
        """See `Backend`."""

    @abstractmethod
    def down_steps(self) -> Sequence[Step]:
        """See `Backend`."""

    @abstractmethod
    def destroy_steps(self) -> Sequence[Step]:
        """See `Backend`."""

    @abstractmethod
    def destroys(self) -> Sequence[str]:
        """See `Backend`."""

    @abstractmethod
    def deliver(self, images: Sequence[str], output: Callable[[str], None]) -> None:
        """Brings images to where the cluster's nodes find them."""

    @property
    def airflow_image(self) -> str:
        """What Airflow's pods run."""
        return self.image.name

    @abstractmethod
    def wait_for_images(self, images: Iterable[str], cancelled: threading.Event) -> None:
        """Waits until images are in the node that are on their way there; the others, a node pulls itself."""

    def stopped(self) -> str:
        """Why the cluster cannot answer, known without asking it: "stopped", "missing"; "" when it may."""
        return ""

    # --- the cluster and what is in it ---

    @property
    def namespace(self) -> str:
        """Where everything lives."""
        return self.project.settings.kubernetes.namespace

    @functools.cached_property
    def release(self) -> Release:
        """Facts about Airflow's release."""
        from devenv.airflow.releases import Release

        return Release(self.project.settings.airflow.version)

    def cluster(self) -> Cluster:
        """The connection, made when first asked for.

        Raises:
            ContextMissing: there is no such context.
        """
        from devenv.cluster.connection import Cluster

        with self._lock:
            if self._cluster is None:
                self._cluster = Cluster.open(self.context, self.project.environment, kubeconfig=self.kubeconfig)
            return self._cluster

    def forget_cluster(self) -> None:
        """Reads the kubeconfig anew next time: the cluster was made or started just now."""
        with self._lock:
            self._cluster = None

    def objects(self) -> Objects:
        """The platform's objects for this project, each with a digest of itself; made once."""
        with self._rendering:
            if self._objects is None:
                self._objects = self._render()
            return self._objects

    def _render(self) -> Objects:
        from devenv.platform.overlay import render_overlay, write_overlay

        self.project.make_state_folder()
        parsed = sum(1 for _ in self.project.dag_folder.rglob("*.py"))
        folder = write_overlay(self.project, airflow_image=self.airflow_image, parsed_files=parsed)
        objects = self.arrange(render_overlay(folder, self.kubectl(), self.project.environment.variables))
        for item in objects:
            digest = hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()[:16]
            annotations = item["metadata"].get("annotations") or {}
            item["metadata"]["annotations"] = {**annotations, _DIGEST: digest}
        return objects

    def arrange(self, objects: Objects) -> Objects:
        """What a kind of cluster changes in the rendered objects."""
        return objects

    def workloads(self, components: Iterable[str] | None = None) -> Objects:
        """The objects that start pods, of some components or of all."""
        wanted = None if components is None else set(components)
        return [
            item
            for item in self.objects()
            if starts_pods(item["kind"]) and (wanted is None or component_of(item) in wanted)
        ]

    def foundations(self) -> Objects:
        """The objects that the others need."""
        return [item for item in self.objects() if not starts_pods(item["kind"])]

    def is_applied(self, wanted: Object) -> bool:
        """Whether the cluster has this object as it is now, and, for a workload, with as many ready pods."""
        metadata = wanted["metadata"]
        live = self.cluster().get(
            wanted["kind"], metadata["name"], metadata.get("namespace"), api_version=wanted["apiVersion"]
        )
        if live is None or environment_of(live) != self.project.identifier:
            return False
        if (live["metadata"].get("annotations") or {}).get(_DIGEST) != metadata["annotations"][_DIGEST]:
            return False
        if wanted["kind"] not in WORKLOADS:
            return True
        replicas = int(wanted["spec"].get("replicas", 1))
        if int(live["spec"].get("replicas", 1)) != replicas or not is_ready(live):
            return False
        labels = f"{ENVIRONMENT_LABEL}={self.project.identifier}"
        return ready_pods(live, self.cluster().list("Pod", self.namespace, labels=labels)) >= replicas

    def prune(self, kinds: Sequence[str] = PRUNED) -> None:
        """Deletes what an earlier `up` applied and this one does not: a ConfigMap's older content, another executor.

        Args:
            kinds: only these.
        """
        cluster = self.cluster()
        kept = {(item["kind"], item["metadata"]["name"]) for item in self.objects()}
        for kind in kinds:
            for item in cluster.list(kind, self.namespace, labels=f"{ENVIRONMENT_LABEL}={self.project.identifier}"):
                name = item["metadata"]["name"]
                # Only what carries the digest was applied here: a synced ConfigMap, for instance, was not.
                if (kind, name) not in kept and _DIGEST in (item["metadata"].get("annotations") or {}):
                    cluster.delete(kind, name, self.namespace)

    # --- Backend: what there is ---

    def status(self) -> EnvironmentStatus:
        """See `Backend`."""
        identifier = self.project.identifier
        reason = self.stopped()
        if reason:
            state: Literal["stopped", "missing"] = "missing" if reason == "missing" else "stopped"
            return EnvironmentStatus(self.name, identifier, state)
        cluster = self.cluster()
        labels = f"{ENVIRONMENT_LABEL}={identifier}"
        try:
            live = [item for kind in WORKLOADS for item in cluster.list(kind, self.namespace, labels=labels)]
        except ClusterUnreachable as error:
            silent = Component("cluster", "failed", error.message)
            return EnvironmentStatus(self.name, identifier, "partly", (silent,))
        pods = cluster.list("Pod", self.namespace, labels=labels)
        components = tuple(
            sorted((component_status(item, pods) for item in live), key=lambda item: self._order(item.name))
        )
        running = sum(item.health == "running" for item in components)
        whole: Literal["up", "partly", "stopped", "missing"] = "partly"
        if not components:
            whole = "missing"
        elif running == len(components):
            whole = "up"
        elif all(item.health == "stopped" for item in components):
            whole = "stopped"
        return EnvironmentStatus(
            self.name,
            identifier,
            whole,
            components,
            self._urls({item.name for item in components}),
            {"airflow": self.project.settings.airflow.version, "kubernetes": cluster.version()},
        )

    def _order(self, component: str) -> tuple[int, str]:
        known = (*self.release.components, "postgres", "vault", AGENT)
        return (known.index(component) if component in known else len(known), component)

    def _urls(self, components: set[str]) -> dict[str, str]:
        # Not the forwards of this process: they end with it.
        open_here = {**ports.held(self.project.state_folder), **self.published()}
        names = [name for name in PAGES if name in components and name in open_here]
        return {name: f"http://127.0.0.1:{open_here[name]}" for name in names}

    def url(self, component: str) -> str:
        """Where a component answers; where nothing leads there yet, a forward of this process is made.

        Raises:
            NotDeployed: it has no page.
        """
        open_here = {**ports.held(self.project.state_folder), **self.published()}
        if component in open_here:
            return f"http://127.0.0.1:{open_here[component]}"
        with self._lock:
            forward = self._forwards.get(component)
        if forward is None:
            forward = self._forward(component, 0)
            with self._lock:
                self._forwards[component] = forward
        return f"http://127.0.0.1:{forward.port}"

    def _forward(self, component: str, port: int) -> Forward:
        from devenv.cluster.forward import Forward

        page = PAGES.get(component)
        if page is None:
            raise NotDeployed(f"{component} has no page", hint="devenv status")
        labels = f"app.kubernetes.io/component={component}"
        return Forward(self.cluster(), self.namespace, labels, page.port, port)

    def airflow(self) -> AirflowClient:
        """See `Backend`."""
        from devenv.airflow.client import AirflowClient

        kept = self.project.data_folder / "airflow-login.json"
        return AirflowClient(
            self.url(self.release.page), self.credentials(), self.project.settings.airflow.version, kept
        )

    def vault(self) -> hvac.Client:
        """See `Backend`."""
        from devenv.vault.client import open_client

        return open_client(self.url("vault"), str(self._seed_document()["generated"]["root_token"]))

    def credentials(self) -> Credentials:
        """See `Backend`; while the cluster does not answer, from the seeds on this machine."""
        from devenv.vault import layout, seeds

        try:
            admin = self._seed_document()["secrets"][layout.ADMIN]
        except (ClusterError, ContextMissing):
            known = seeds.load_or_create(self.project)
            admin = seeds.secrets_at(self.project, known, layout.ADMIN)
        return Credentials(admin["AIRFLOW_ADMIN_USER"], admin["AIRFLOW_ADMIN_PASSWORD"])

    def known_secrets(self) -> Sequence[str]:
        """See `Backend`: everything in Vault but the platform's plain words ("airflow", "5432")."""
        from devenv.vault import platform_secrets, seeds

        try:
            document = self._seed_document()
        except DevenvError:
            return list(seeds.load_or_create(self.project).generated.values())
        generated = {str(value) for value in document["generated"].values()}
        plain = {
            value
            for values in platform_secrets.values(self.project.settings, document["generated"]).values()
            for value in values.values()
        } - generated
        given = {str(value) for values in document["secrets"].values() for value in values.values()}
        return sorted(generated | (given - plain))

    def _seed_document(self) -> dict[str, Any]:
        from devenv.vault import seeds

        if reason := self.stopped():
            raise ClusterUnreachable(f"The cluster of context {self.context!r} is {reason}", hint="devenv up")
        secret = self.cluster().get("Secret", seeds.SECRET_NAME, self.namespace)
        if secret is None or environment_of(secret) != self.project.identifier:
            raise NotDeployed("This environment is not up", hint="devenv up")
        return seeds.decode_secret(secret)

    def logs(self, query: LogQuery) -> Iterator[LogLine]:
        """See `Backend`."""
        from devenv.logs.pods import pod_logs
        from devenv.logs.scrub import Scrubber

        scrub = Scrubber(self.known_secrets())
        return pod_logs(self.cluster(), self.namespace, query, scrub=scrub, report=self.report)

    def explain_task(self, task: TaskKey) -> tuple[str, str]:
        """See `Backend`: by the task's pod, or by the API server's answer to it."""
        from devenv.platform.task_pods import explain

        found = explain(self.cluster(), self.namespace, task)
        if found is None:
            return "", ""
        if found.image and self.bring_image(found.image):
            return f"image {found.image} was loaded from this machine's Docker; the node tries again", ""
        return found.text, found.hint

    def bring_image(self, image: str) -> bool:  # noqa: ARG002
        """Loads an image that a task names, and the node cannot pull, from this machine; False where it cannot."""
        return False

    def exports(self) -> Mapping[str, str]:
        """See `Backend`."""
        from devenv.cluster.access import kubeconfig_paths, single_context

        environment = self.project.environment
        paths = [self.kubeconfig] if self.kubeconfig else kubeconfig_paths(environment.variables, environment.home)
        text = single_context(self.context, self.namespace, paths)
        path = self.project.make_state_folder() / "kubeconfig"
        write_whole(path, text)
        return {"KUBECONFIG": str(path)}

    # --- Backend: what one does with it ---

    def command(self, component: str, command: Sequence[str], *, interactive: bool) -> subprocess.Popen[bytes]:
        """See `Backend`."""
        pod = self.pod_of(component)
        environment = self.project.environment
        terminal = interactive and environment.stdin.isatty() and environment.stdout.isatty()
        flags = ["-i", "-t"] if terminal else ["-i"] if interactive else []
        arguments = [*self.kubectl(), "-n", self.namespace, "exec", *flags, pod, "-c", component, "--", *command]
        streams: dict[str, Any] = {"stdin": None, "stdout": None, "stderr": None, "own_session": False}
        return process.start(arguments, variables=environment.variables, **(streams if interactive else {}))

    def pod_of(self, component: str) -> str:
        """The name of a component's running pod, a ready one first.

        Raises:
            NotDeployed: none runs.
        """
        labels = f"app.kubernetes.io/component={component},{ENVIRONMENT_LABEL}={self.project.identifier}"
        running = [
            pod
            for pod in self.cluster().list("Pod", self.namespace, labels=labels)
            if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")
        ]
        if not running:
            raise NotDeployed(f"No pod of {component} runs", hint="`devenv status` says why; `devenv up` starts it.")
        return str(min(running, key=lambda pod: diagnose(pod) is not None)["metadata"]["name"])

    def open_target(self, listener: Listener, *, take_over: bool = False, verdicts: bool = True) -> Target:
        """See `Backend`."""
        return self._agent_sessions.open_target(listener, take_over=take_over, verdicts=verdicts)

    def task_runner(self, report: Reporter) -> TaskRunner:
        """See `Backend`: a pod made from the task pods' template."""
        from devenv.platform.task_runner import task_runner

        if reason := self.stopped():
            raise NotDeployed(f"the environment is {reason}", hint="devenv up")
        return task_runner(self, report)

    def seed_keeper(self) -> SeedKeeper:
        """See `Backend`: the file on the laptop and the Secret in the cluster."""
        from devenv.vault.keeper import SeedKeeper

        return SeedKeeper(self.project, self.cluster())

    def stale_secrets(self) -> Sequence[StalePod]:
        """See `Backend`."""
        from devenv.vault import staleness

        try:
            return staleness.look(self.project, self.cluster())
        except DevenvError:
            return ()  # it is not up, which the status shows

    def renew_secrets(self, report: Reporter, *, restart: bool) -> None:
        """See `Backend`: files in pods are as old as the pods, so those with old secrets are restarted."""
        from devenv.platform.secrets import renew

        renew(self.project, self.cluster(), self.vault(), report, restart=restart)

    def surroundings(self) -> Surroundings | None:
        """See `Backend`: the session ends with its pod."""
        return None

    @contextmanager
    def during_watch(self, report: Reporter) -> Iterator[None]:
        """See `Backend`."""
        from devenv.cluster.pod_watch import PodObserver, pods_watched
        from devenv.platform.pod_problems import PodTroubles
        from devenv.platform.task_pods import TaskPodWatch
        from devenv.vault.watching import VaultWatch

        observers: list[PodObserver] = [
            PodTroubles(self.cluster(), report, bring_image=self.bring_image),
            TaskPodWatch(self.cluster(), self.namespace, report),
            VaultWatch(report),
        ]
        with self._forwarded(report), pods_watched(self.cluster(), self.namespace, observers):
            yield

    @contextmanager
    def _forwarded(self, report: Reporter) -> Iterator[None]:
        """Forwards the pages that no port of the node leads to."""
        published = self.published()
        deployed = {component_of(item) for item in self.workloads()}
        opened: dict[str, Forward] = {}
        try:
            for component in PAGES:
                if component in published or component not in deployed:
                    continue
                wanted = ports.wanted_port(component, self.project.settings.ports)
                opened[component] = self._forward(component, ports.choose(wanted, component, report))
            ports.hold(self.project.make_state_folder(), {name: forward.port for name, forward in opened.items()})
            for component, forward in opened.items():
                report(Notice("info", f"{component}: http://127.0.0.1:{forward.port}, while this watch runs"))
            yield
        finally:
            for forward in opened.values():
                forward.close()
            if opened:
                ports.release(self.project.state_folder)

    def reconcile(self, report: Reporter) -> None:
        """See `Backend`: an image to rebuild, objects that the settings change."""
        from devenv.boot.only_work import OnlyWork
        from devenv.boot.runner import run_steps

        self.image = ProjectImage(self.project)
        with self._rendering:
            self._objects = None
        run_steps(self.up_steps(), OnlyWork(report))

    def build_output(self, step: str) -> Callable[[str], None]:
        """Takes lines of a program's output for a step."""
        return lambda line: self.report(Output(step, line))
