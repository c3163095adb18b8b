"""minikube's exit codes and error ids, as causes and remedies.

Source: minikube 1.38 `pkg/minikube/reason/exitcodes.go` and `reason.go`. The tens of an exit code name where the
error comes from, the units what it is; the id in the error event is more exact, so it is looked at first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devenv.errors import DevenvError
from devenv.minikube.errors import (
    DockerMissing,
    DockerNotRunning,
    MinikubeFailed,
    NotEnoughDisk,
    NotEnoughMemory,
    NotEnoughProcessors,
    PortTaken,
)


@dataclass(frozen=True)
class Problem:
    """What minikube said when it failed.

    Attributes:
        name: its id ("RSRC_INSUFFICIENT_CORES"), or "".
        message: its words.
        advice: what it advises, or "".
        exit_code: of the program.
    """

    name: str
    message: str
    advice: str
    exit_code: int


@dataclass(frozen=True)
class _Remedy:
    cause: str
    hint: str
    kind: type[DevenvError] = MinikubeFailed


_TEXTS: tuple[tuple[str, _Remedy], ...] = (
    (
        "port is already allocated",
        _Remedy("A port that its node publishes is held by another program", "devenv up", PortTaken),
    ),
    (
        "address already in use",
        _Remedy("A port that its node publishes is held by another program", "devenv up", PortTaken),
    ),
    (
        "no space left on device",
        _Remedy("The disk is full", "Free some: docker system df; docker system prune", NotEnoughDisk),
    ),
    (
        "timeout acquiring mutex",
        _Remedy("Another minikube command holds its lock", "Wait for it, or end it, then `devenv up` again."),
    ),
    (
        "should not be used with root privileges",
        _Remedy("minikube's docker driver refuses to run as root", "Run devenv as an ordinary user, without sudo."),
    ),
)

_NAMES: dict[str, _Remedy] = {
    "DRV_AS_ROOT": _Remedy("minikube's docker driver refuses root", "Run devenv as an ordinary user, without sudo."),
    "DRV_DOCKER_NOT_RUNNING": _Remedy(
        "Docker's engine is not running", "Start Docker, then `devenv up`.", DockerNotRunning
    ),
    "PROVIDER_DOCKER_NOT_RUNNING": _Remedy(
        "Docker's engine is not running", "Start Docker, then `devenv up`.", DockerNotRunning
    ),
    "PROVIDER_DOCKER_NOT_FOUND": _Remedy(
        "Docker is not installed", "Install it, or `devenv up --backend local`.", DockerMissing
    ),
    "RSRC_DOCKER_STORAGE": _Remedy(
        "Docker's disk is nearly full", "docker system df; docker system prune", NotEnoughDisk
    ),
    "RSRC_INSUFFICIENT_STORAGE": _Remedy(
        "There is not enough disk for the node", "docker system df; docker system prune", NotEnoughDisk
    ),
    "RSRC_INSUFFICIENT_CORES": _Remedy(
        "Docker has fewer processors than were asked for",
        "Lower minikube.cpus in devenv.toml, or give Docker more.",
        NotEnoughProcessors,
    ),
    "RSRC_INSUFFICIENT_SYS_MEMORY": _Remedy(
        "This machine has less memory than minikube needs", "devenv up --backend local", NotEnoughMemory
    ),
    "RSRC_INSUFFICIENT_CONTAINER_MEMORY": _Remedy(
        "Docker's virtual machine has too little memory",
        "Raise it in Docker Desktop, Settings, Resources; or `devenv up --backend local`.",
        NotEnoughMemory,
    ),
    "RSRC_INSUFFICIENT_REQ_MEMORY": _Remedy(
        "minikube.memory is below minikube's minimum", "Set it to 4g or more in devenv.toml.", NotEnoughMemory
    ),
    "RSRC_OVER_ALLOC_MEM": _Remedy(
        "minikube.memory is more than this machine has", "Lower it in devenv.toml.", NotEnoughMemory
    ),
    "GUEST_DRIVER_MISMATCH": _Remedy(
        "The profile was made with another driver",
        "set minikube.driver to that one in devenv.toml",
    ),
    "K8S_DOWNGRADE_UNSUPPORTED": _Remedy(
        "The profile runs a newer Kubernetes than was asked for",
        "set minikube.kubernetes_version to that one or a newer in devenv.toml",
    ),
    "GUEST_PROVISION": _Remedy(
        "minikube could not make or start its node", "devenv up; if it fails again, devenv doctor"
    ),
    "GUEST_START": _Remedy(
        "Kubernetes did not start in minikube's node",
        "devenv up; if it fails again, devenv doctor",
    ),
    "GUEST_STATUS": _Remedy("minikube cannot read the state of its node", "devenv up"),
    "PROVIDER_UNAVAILABLE": _Remedy("minikube's driver does not work on this machine", "minikube start --dry-run"),
    "IF_SSH_AGENT": _Remedy("minikube cannot use the SSH agent", "unset SSH_AUTH_SOCK"),
}

_DECADES: dict[int, _Remedy] = {
    1: _Remedy("minikube itself failed", "minikube version; minikube update-check"),
    2: _Remedy("This machine has too little of something", "devenv doctor"),
    3: _Remedy("This machine's set-up is in the way of minikube", "devenv doctor"),
    4: _Remedy(
        "minikube could not download what it needs",
        "Check network, VPN and proxy (HTTPS_PROXY, NO_PROXY); devenv doctor",
    ),
    5: _Remedy("minikube's driver failed", "docker info; devenv doctor"),
    6: _Remedy("What minikube's driver needs is not there", "docker info; devenv doctor"),
    7: _Remedy("The local network is in the way of minikube", "Check VPN and firewall; devenv doctor"),
    8: _Remedy("minikube's node failed", "devenv up; if it fails again, devenv doctor"),
    9: _Remedy("The container runtime in minikube's node failed", "devenv up; if it fails again, devenv doctor"),
    10: _Remedy("Kubernetes' control plane did not start", "devenv up; if it fails again, devenv doctor"),
    11: _Remedy("A service in minikube failed", "devenv up"),
}


def explain(problem: Problem, output: Sequence[str]) -> DevenvError:
    """The error for a failed minikube command.

    Args:
        problem: what it said.
        output: its last lines, for the detail.
    """
    text = "\n".join([problem.message, *output]).lower()
    remedy = _NAMES.get(problem.name)
    if remedy is None or problem.name.startswith("GUEST_"):
        remedy = next((found for needle, found in _TEXTS if needle in text), remedy)
    if remedy is None:
        remedy = _DECADES.get(problem.exit_code // 10, _Remedy("minikube failed", "devenv doctor"))
    where = f"exit code {problem.exit_code}" + (f", {problem.name}" if problem.name else "")
    said = problem.message.strip()
    detail = "\n".join(line for line in [problem.advice.strip(), *output[-10:]] if line and line != said)
    message = f"{remedy.cause} ({where})" + (f": {said.splitlines()[0]}" if said else "")
    return remedy.kind(message, hint=remedy.hint, detail=detail or None)
