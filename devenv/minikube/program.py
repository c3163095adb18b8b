"""The program minikube, for one profile."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from devenv.boot.step import Progress
from devenv.cluster.objects import ENVIRONMENT_LABEL
from devenv.environment import Environment
from devenv.errors import CommandFailed, ProgramMissing
from devenv.minikube.errors import MinikubeMissing
from devenv.minikube.problems import Problem, explain
from devenv.process import run, start, stop
from devenv.settings.schema import MinikubeSettings

_PROFILE_UNKNOWN = 85
_EVENT = "io.k8s.sigs.minikube."
_LINES = 30
_INTERRUPT_SECONDS = 5.0
_CONTEXT_SECONDS = 30.0
_ADDON_SECONDS = 120.0
INSTALL_HINT = "Install it: https://minikube.sigs.k8s.io/docs/start/ , or `devenv up --backend local` without it."


@dataclass(frozen=True)
class Profile:
    """A profile as minikube has it written down.

    Attributes:
        name: of the profile, which is also the context's and the first node's.
        driver: "docker", "kvm2" …
        runtime: "containerd", "docker", "cri-o".
        nodes: how many.
        ports: what it publishes: node port → port on 127.0.0.1.
        owner: the environment for which devenv made it; "" when devenv did not.
        kubernetes: its release: "v1.34.4".
        memory: MiB.
    """

    name: str
    driver: str
    runtime: str
    nodes: int
    ports: Mapping[int, int]
    owner: str
    kubernetes: str
    memory: int


@dataclass(frozen=True)
class Status:
    """`minikube status`: "Running", "Stopped", "Paused", "Nonexistent" for each."""

    host: str
    kubelet: str
    apiserver: str

    @property
    def running(self) -> bool:
        """Whether everything answers."""
        return self.host == self.kubelet == self.apiserver == "Running"


class Minikube:
    """The program for one profile. `cancel` ends what another thread runs.

    Args:
        profile: its name.
        environment: with the variables of minikube.
        kubeconfig: what minikube reads and writes in place of the user's.
    """

    def __init__(self, profile: str, environment: Environment, kubeconfig: Path) -> None:
        self.profile = profile
        self.kubeconfig = kubeconfig
        self._variables = {**environment.variables, "KUBECONFIG": str(kubeconfig)}
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._cancelled = False

    def find(self) -> Profile | None:
        """The profile, or None when there is none of that name; also a broken one counts.

        Raises:
            MinikubeMissing: there is no minikube.
        """
        answer = self._json(["profile", "list", "-o", "json", "--light"])
        for kind in ("valid", "invalid"):
            for entry in answer.get(kind) or []:
                if entry.get("Name") == self.profile:
                    return _profile(entry)
        return None

    def status(self) -> Status:
        """What runs. minikube's exit code is part of that answer, not a failure."""
        answer = self._json(["status", "-p", self.profile, "-o", "json"])
        return Status(
            str(answer.get("Host", "Nonexistent")),
            str(answer.get("Kubelet", "Nonexistent")),
            str(answer.get("APIServer", "Nonexistent")),
        )

    def start(
        self,
        settings: MinikubeSettings,
        progress: Progress,
        *,
        owner: str,
        ports: Mapping[int, int],
        create: bool,
        dry_run: bool = False,
    ) -> None:
        """Makes the profile, or starts it again. What the settings do not give is not passed on.

        Args:
            settings: `[minikube]`.
            progress: told minikube's own steps.
            owner: the environment's identifier, written into a new profile as a label of its node.
            ports: node port → port on 127.0.0.1 that a new profile publishes.
            create: the profile does not exist; decides about what can only be set then.
            dry_run: only look whether it could.

        Raises:
            DevenvError: as `devenv.minikube.problems` explains it.
        """
        arguments = ["start", "-p", self.profile, "--keep-context", "--interactive=false"]
        given = (
            ("--driver", settings.driver),
            ("--cpus", settings.cpus),
            ("--memory", settings.memory),
            ("--kubernetes-version", settings.kubernetes_version),
            ("--container-runtime", settings.container_runtime),
        )
        arguments += [f"{flag}={value}" for flag, value in given if value is not None]
        if ports:
            arguments.append("--ports=" + ",".join(f"127.0.0.1:{here}:{node}" for node, here in ports.items()))
        if create:
            arguments.append(f"--extra-config=kubelet.node-labels={ENVIRONMENT_LABEL}={owner}")
        if dry_run:
            arguments.append("--dry-run")
        self._run([*arguments, *settings.extra_arguments], progress)

    def update_context(self) -> None:
        """Writes the profile's context into the kubeconfig; the cluster is not touched.

        Raises:
            CommandFailed: the node does not run, or the file cannot be written.
            TimedOut: minikube does not answer.
        """
        run(["minikube", "update-context", "-p", self.profile], variables=self._variables, timeout=_CONTEXT_SECONDS)

    def enable_addon(self, name: str) -> None:
        """Deploys one of minikube's own additions, "storage-provisioner", into the running cluster.

        Raises:
            CommandFailed, TimedOut: it could not.
        """
        command = ["minikube", "addons", "enable", name, "-p", self.profile]
        run(command, variables=self._variables, timeout=_ADDON_SECONDS)

    def unpause(self, progress: Progress) -> None:
        """Wakes a paused profile."""
        self._run(["unpause", "-p", self.profile], progress)

    def stop(self, progress: Progress) -> None:
        """Stops it and keeps its data."""
        self._run(["stop", "-p", self.profile, "--keep-context-active"], progress)

    def delete(self, progress: Progress) -> None:
        """Deletes it with its data."""
        self._run(["delete", "-p", self.profile], progress)

    def load_images(self, images: Sequence[str]) -> None:
        """`minikube image load`: slower than a stream into the node, and works with every driver and runtime."""
        run(
            ["minikube", "-p", self.profile, "image", "load", "--daemon=true", *images],
            variables=self._variables,
        )

    def list_images(self) -> set[str]:
        """The images that the node has, by their full names: "docker.io/library/postgres:15"."""
        done = run(
            ["minikube", "-p", self.profile, "image", "ls", "--format=json"],
            variables=self._variables,
            check=False,
        )
        with contextlib.suppress(ValueError):
            return {tag for image in json.loads(done.stdout or "[]") for tag in image.get("repoTags") or []}
        return set()

    def kubectl(self) -> list[str]:
        """`minikube kubectl`, where kubectl is not installed."""
        return ["minikube", "-p", self.profile, "kubectl", "--"]

    def cancel(self) -> None:
        """Ends the running command: Ctrl-C, then harder."""
        with self._lock:
            self._cancelled = True
            child = self._child
        if child is not None and child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_INTERRUPT_SECONDS)
            stop(child)

    def _json(self, arguments: Sequence[str]) -> dict[str, Any]:
        """The JSON object that a command prints, whatever its exit code; empty when it prints none."""
        try:
            done = run(["minikube", *arguments], variables=self._variables, check=False, timeout=60)
        except ProgramMissing as error:
            raise MinikubeMissing("minikube is not installed, or not on PATH", hint=INSTALL_HINT) from error
        for text in (done.stdout, *done.stdout.splitlines()):
            with contextlib.suppress(ValueError):
                answer = json.loads(text)
                if isinstance(answer, list):  # several nodes
                    answer = answer[0] if answer else {}
                if isinstance(answer, dict) and "specversion" not in answer:
                    return answer
        if done.returncode not in (0, _PROFILE_UNKNOWN) and arguments[0] == "profile":
            raise CommandFailed(done.command, done.returncode, done.stderr or done.stdout)
        return {}

    def _run(self, arguments: Sequence[str], progress: Progress) -> None:
        """Runs a command whose events are told as progress.

        Raises:
            DevenvError: it ended with an error.
            KeyboardInterrupt: it was cancelled.
        """
        command = ["minikube", *arguments, "-o", "json"]
        with self._lock:
            if self._cancelled:
                raise KeyboardInterrupt
            try:
                child = start(command, variables=self._variables)
            except ProgramMissing as error:
                raise MinikubeMissing("minikube is not installed, or not on PATH", hint=INSTALL_HINT) from error
            self._child = child
        events = Events(progress)
        lines: deque[str] = deque(maxlen=_LINES)
        reader = threading.Thread(target=_keep_lines, args=(child.stderr, lines), daemon=True)
        reader.start()
        assert child.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # `cancel` closes the pipe under the reader
            for line in child.stdout:
                events.take(line.decode("utf-8", "replace"))
        code = child.wait()
        reader.join(1.0)
        stop(child)
        if self._cancelled:
            raise KeyboardInterrupt
        if code != 0:
            raise explain(events.problem(code), [*events.plain, *lines])


class Events:
    """Reads minikube's JSON lines (CloudEvents); a line that is none is kept for a failure."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._furthest = 0.0
        self._errors: list[dict[str, str]] = []
        self.plain: deque[str] = deque(maxlen=_LINES)

    def take(self, line: str) -> None:
        """One line of standard output."""
        text = line.strip()
        if not text:
            return
        try:
            event = json.loads(text)
            kind, data = str(event["type"]).removeprefix(_EVENT), event["data"]
            message = str(data.get("message", "")).strip()
        except (ValueError, TypeError, KeyError, AttributeError):
            self.plain.append(text)
            return
        if kind == "step":
            # The number of steps differs between releases, some are skipped, and two may swap their places.
            with contextlib.suppress(KeyError, ValueError, ZeroDivisionError):
                self._furthest = max(self._furthest, int(data["currentstep"]) / int(data["totalsteps"]))
            self._progress(str(data.get("name") or message), self._furthest)
        elif kind == "download.progress":
            with contextlib.suppress(KeyError, ValueError):
                self._progress(f"Downloading {data.get('artifact', '')}", float(data["progress"]))
        elif kind == "error":
            self._errors.append(data)

    def problem(self, exit_code: int) -> Problem:
        """What it said when it failed: the last error with an id, else the last error."""
        named = [data for data in self._errors if data.get("name")]
        chosen = (named or self._errors or [{}])[-1]
        return Problem(
            name=str(chosen.get("name", "")),
            message=str(chosen.get("message", "")),
            advice=str(chosen.get("advice", "")),
            exit_code=exit_code,
        )


def _keep_lines(stream: IO[bytes] | None, lines: deque[str]) -> None:
    with contextlib.suppress(ValueError, OSError):
        for line in stream or ():
            lines.append(line.decode("utf-8", "replace").rstrip())


def _profile(entry: Mapping[str, Any]) -> Profile:
    config = entry.get("Config") or {}
    kubernetes = config.get("KubernetesConfig") or {}
    owner = ""
    for option in kubernetes.get("ExtraOptions") or []:
        if option.get("Component") == "kubelet" and option.get("Key") == "node-labels":
            labels = dict(part.partition("=")[::2] for part in str(option.get("Value", "")).split(","))
            owner = labels.get(ENVIRONMENT_LABEL, owner)
    return Profile(
        name=str(entry.get("Name", "")),
        driver=str(config.get("Driver", "")),
        runtime=str(kubernetes.get("ContainerRuntime", "")),
        nodes=len(config.get("Nodes") or [None]),
        ports=_published(config.get("ExposedPorts") or []),
        owner=owner,
        kubernetes=str(kubernetes.get("KubernetesVersion", "")),
        memory=int(config.get("Memory") or 0),
    )


def _published(ports: Sequence[str]) -> dict[int, int]:
    """Node port → port here, of "127.0.0.1:8080:30080"; ports that a user published otherwise are theirs."""
    found: dict[int, int] = {}
    for port in ports:
        parts = str(port).split(":")
        if len(parts) >= 2 and parts[-1].isdigit() and parts[-2].isdigit():
            found[int(parts[-1])] = int(parts[-2])
    return found
