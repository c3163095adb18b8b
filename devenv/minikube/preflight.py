"""What must be so before minikube is started, each with its cause and remedy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devenv.cluster.kubectl import kubectl_command
from devenv.errors import ProgramMissing, TimedOut
from devenv.minikube.errors import (
    DockerMissing,
    DockerNotRunning,
    DriverDiffers,
    MinikubeMissing,
    NotEnoughDisk,
    NotEnoughMemory,
    NotEnoughProcessors,
)
from devenv.minikube.program import INSTALL_HINT, Profile
from devenv.platform.preflight import require_readable
from devenv.process import run, which
from devenv.project import Project

MEBI = 1024 * 1024
MEMORY_MIB = 2560
"""The least that a node needs: 1.5 GiB of requests and the control plane."""
DISK_BYTES = 4 * 1024**3
"""Node image, Airflow's, Postgres' and Vault's image in the node, and some room for data."""
START_BYTES = 512 * 1024**2
"""Without that much, etcd and the kubelet of a node that is started again fail."""
_DOCKER_SECONDS = 20.0


def check(project: Project, *, creating: bool) -> list[str]:
    """Looks at everything that would make the boot fail later, and raises for the first that would.

    Args:
        project: whose settings and DAG folder.
        creating: the profile does not exist yet: memory and disk count.

    Returns:
        Warnings.

    Raises:
        MissingError: as the classes in `devenv.minikube.errors` say.
    """
    variables = project.environment.variables
    require_readable(project.dag_folder)
    if which("minikube", variables) is None:
        raise MinikubeMissing("minikube is not installed, or not on PATH", hint=INSTALL_HINT)
    kubectl_command("", variables, minikube_profile=project.settings.minikube.profile)
    if not uses_docker(project):
        return []
    engine = docker_info(variables)
    return _room(project, engine) if creating else []


def before_start(project: Project, profile: Profile) -> None:
    """Looks at what would make a start of a stopped profile fail half-way, after which minikube resets the cluster.

    Raises:
        DriverDiffers: the settings ask for another driver than the profile has.
        NotEnoughDisk: Docker's disk is full.
    """
    driver = project.settings.minikube.driver or project.environment.variables.get("MINIKUBE_DRIVER") or profile.driver
    if driver != profile.driver:
        raise DriverDiffers(
            f"minikube's profile {profile.name} was made with the driver {profile.driver}, not {driver}",
            hint=f'set minikube.driver = "{profile.driver}" in devenv.toml; or devenv up --profile NAME, for a new one',
        )
    if profile.driver == "docker":
        engine = docker_info(project.environment.variables)
        _require_disk(engine, START_BYTES, "a stopped node")


def uses_docker(project: Project) -> bool:
    """Whether minikube will run its node in Docker: by setting, by variable, or because that is its first choice."""
    driver = project.settings.minikube.driver or project.environment.variables.get("MINIKUBE_DRIVER") or "docker"
    return driver == "docker"


def docker_info(variables: Mapping[str, str]) -> dict[str, Any]:
    """What Docker's engine says about itself.

    Raises:
        DockerMissing: there is no docker command.
        DockerNotRunning: its engine does not answer.
    """
    try:
        done = run(
            ["docker", "info", "--format", "{{json .}}"], variables=variables, check=False, timeout=_DOCKER_SECONDS
        )
    except ProgramMissing as error:
        raise DockerMissing(
            "Docker is not installed, or not on PATH",
            hint="Install it: https://docs.docker.com/get-docker/ , or `devenv up --backend local` without it.",
        ) from error
    except TimedOut as error:
        raise DockerNotRunning("Docker's engine does not answer", hint="Restart Docker, then `devenv up`.") from error
    try:
        info: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        info = {}
    if done.returncode == 0 and info.get("ServerVersion"):
        return info
    problem = "\n".join([*(info.get("ServerErrors") or []), done.stderr.strip()]).strip()
    if "permission denied" in problem.lower():
        raise DockerNotRunning(
            "This user may not use Docker's engine",
            hint="sudo usermod -aG docker $USER, then log in again.",
            detail=problem,
        )
    raise DockerNotRunning(
        "Docker's engine is not running",
        hint="Start Docker, then `devenv up`; or `devenv up --backend local` without it.",
        detail=problem or None,
    )


def memory_mib(text: str) -> int:
    """Minikube's notation of memory in MiB: "6g", "4096m", "4096"."""
    number, unit = text.rstrip("bBi"), ""
    if number[-1:].isalpha():
        number, unit = number[:-1], number[-1].lower()
    return int(float(number) * {"": 1, "m": 1, "g": 1024}[unit])


def _room(project: Project, engine: Mapping[str, Any]) -> list[str]:
    """Memory, processors and disk for a new node."""
    import psutil

    settings = project.settings.minikube
    warnings: list[str] = []
    total = int(engine.get("MemTotal") or 0) // MEBI
    wanted = memory_mib(settings.memory) if settings.memory else None
    if wanted is not None and wanted < MEMORY_MIB:
        raise NotEnoughMemory(
            f"minikube.memory = {settings.memory!r} is too little: the platform needs {MEMORY_MIB} MiB",
            hint='Set it to "4g" or more in devenv.toml.',
        )
    if total and total < (wanted or MEMORY_MIB):
        raise NotEnoughMemory(
            f"Docker has {total} MiB of memory, and the node needs {wanted or MEMORY_MIB} MiB",
            hint="Raise it in Docker Desktop, Settings, Resources; or `devenv up --backend local`.",
        )
    free = psutil.virtual_memory().available // MEBI
    if free < MEMORY_MIB and str(engine.get("OSType")) == "linux" and _is_this_machine(engine):
        warnings.append(f"only {free} MiB of memory are free; the node may use up to {wanted or MEMORY_MIB} MiB")
    cores = int(engine.get("NCPU") or 0)
    if cores and cores < (settings.cpus or 2):
        raise NotEnoughProcessors(
            f"Docker has {cores} processors, and the node needs {settings.cpus or 2}",
            hint="Lower minikube.cpus, or give Docker more; or `devenv up --backend local`.",
        )
    _require_disk(engine, DISK_BYTES, "a new node")
    return warnings


def _require_disk(engine: Mapping[str, Any], wanted: int, what: str) -> None:
    import psutil

    root = Path(str(engine.get("DockerRootDir") or "/"))
    if root.is_dir() and _is_this_machine(engine):
        left = psutil.disk_usage(str(root)).free
        if left < wanted:
            raise NotEnoughDisk(
                f"{left / 1024**3:.1f} GiB of disk are left at {root}, and {what} needs {wanted / 1024**3:.1f}",
                hint="docker system df; docker system prune",
            )


def _is_this_machine(engine: Mapping[str, Any]) -> bool:
    """Whether the engine runs here and not in a virtual machine or elsewhere."""
    import platform

    return str(engine.get("Name")) == platform.node()
