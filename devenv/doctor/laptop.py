"""The laptop: Docker, memory, disk, ports, how it tells about changed files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devenv.doctor.check import Check, Finding, failure, ok, skipped, warning
from devenv.errors import ProgramMissing

if TYPE_CHECKING:
    from devenv.doctor.machine import Machine
    from devenv.project import Project

_GIBI = 2**30
_LOCAL = "devenv up --backend local   needs no Docker"
# Their changes made elsewhere send no events here, or none at all (minikube#1551, microsoft/WSL#4739).
_WITHOUT_EVENTS = frozenset(
    "9p nfs nfs4 cifs smb3 smbfs drvfs vboxsf prl_fs afs ceph fuse.sshfs fuse.grpcfuse".split()  # noqa: SIM905
)


def checks(machine: Machine, project: Project | None, *, cluster: bool) -> list[Check]:
    """The checks of the laptop; `cluster` for a backend that needs Docker and minikube."""
    found = []
    if cluster:
        found.append(Check("docker", "Docker", lambda: docker(machine)))
    found.append(Check("memory", "Memory", lambda: memory(machine, cluster=cluster)))
    found.append(Check("disk", "Disk", lambda: disk(machine, project)))
    found.append(Check("wsl", "WSL", lambda: wsl(machine)))
    if project is not None:
        found.append(Check("file-system", "File system", lambda: file_system(machine, project.dag_folder)))
        found.append(Check("inotify", "File events", lambda: inotify(machine, project.dag_folder)))
        found.append(Check("state", "devenv's folders", lambda: folders(machine, project)))
    return found


def docker(machine: Machine) -> Finding:
    """The engine that minikube's docker driver needs: installed, running, allowed, large enough."""
    try:
        done = machine.run(["docker", "info", "--format", "{{json .}}"])
    except ProgramMissing:
        return failure("Docker is not installed, or not on PATH", f"install Docker; or {_LOCAL}")
    info = as_object(done.stdout)
    said = "\n".join([str(error) for error in info.get("ServerErrors") or []] + [done.stderr]).strip()
    if not info.get("ServerVersion"):
        if "permission denied" in said.lower():
            return failure(
                "this user may not use Docker's socket", "sudo usermod -aG docker $USER, then log in again", detail=said
            )
        start = "open Docker Desktop" if machine.platform == "darwin" else "sudo systemctl start docker"
        return failure("Docker's engine does not answer", f"{start}; or {_LOCAL}", detail=said)
    host = machine.environment.variables.get("DOCKER_HOST", "")
    if host.startswith(("tcp://", "ssh://")):
        return warning(
            f"DOCKER_HOST={host} is on another machine: minikube's ports would be there",
            "unset DOCKER_HOST, or use a context of your own: devenv up --backend kubernetes",
        )
    processors, memory_bytes = int(info.get("NCPU") or 0), int(info.get("MemTotal") or 0)
    if 0 < processors < 2:
        return failure(f"Docker has {processors} processor, minikube needs 2", "give Docker more, in its settings")
    if 0 < memory_bytes < 3 * _GIBI:
        return failure(
            f"Docker has {memory_bytes / _GIBI:.1f} GiB of memory, Airflow in minikube needs 4",
            f"give Docker more, in its settings; or {_LOCAL}",
        )
    return ok(f"{info['ServerVersion']}, {processors} processors, {memory_bytes / _GIBI:.1f} GiB")


def memory(machine: Machine, *, cluster: bool) -> Finding:
    """Enough for the backend."""
    total = machine.memory() / _GIBI
    least, good = (4, 7.5) if cluster else (2, 4)
    said = f"{total:.1f} GiB"
    if total < least:
        return failure(f"{said}, and this backend needs {least}", _LOCAL if cluster else "end other programs")
    if total < good:
        remedy = 'memory = "4g" under [minikube] in devenv.toml leaves more to you' if cluster else "end other programs"
        return warning(f"{said} is little: pods may wait or be ended", remedy)
    return ok(said)


def disk(machine: Machine, project: Project | None) -> Finding:
    """Room where images, virtual environments and databases are kept."""
    environment = machine.environment
    places = [environment.cache_folder, environment.data_folder, *([project.folder] if project else [])]
    docker_root = Path("/var/lib/docker")
    if docker_root.exists():
        places.append(docker_root)
    free, place = min((machine.free_disk(place), place) for place in places)
    said = f"{free / _GIBI:.1f} GiB free at {place}"
    if free < 2 * _GIBI:
        return failure(said, "docker system prune, or remove what you do not need")
    return warning(said, "docker system prune frees what no container uses") if free < 8 * _GIBI else ok(said)


def wsl(machine: Machine) -> Finding:
    """Windows' Linux: only its second version runs Docker."""
    version = machine.read("/proc/version")
    if "microsoft" not in version.lower():
        return ok("not Windows")
    if "WSL2" not in version and "microsoft-standard" not in version:
        return failure(
            "this is WSL 1, which runs neither Docker nor minikube", "in PowerShell: wsl --set-version NAME 2"
        )
    return ok("WSL 2")


def mounted(machine: Machine, folder: Path) -> str:
    """The type of the file system on which a folder lies, "" where the system does not tell."""
    best, found = "", ""
    place = str(folder.resolve())
    for line in machine.read("/proc/self/mountinfo").splitlines():
        fields = line.split(" ")
        if "-" not in fields:
            continue
        mount = fields[4].replace("\\040", " ")
        if (mount in ("/", place) or place.startswith(mount + "/")) and len(mount) >= len(best):
            best, found = mount, fields[fields.index("-") + 1]
    return found


def file_system(machine: Machine, dag_folder: Path) -> Finding:
    """Whether saves in the DAG folder are told about, or must be looked for."""
    if not dag_folder.is_dir():
        return failure(f"there is no DAG folder {dag_folder}", "devenv init makes one, or set [sync] dags")
    kind = mounted(machine, dag_folder)
    if kind not in _WITHOUT_EVENTS:
        return ok(kind or "local")
    if "microsoft" in machine.read("/proc/version").lower():
        return warning(
            f"{dag_folder} is on Windows' disk ({kind}), which tells nothing about saves and is slow",
            "move the project into WSL: ~/; until then devenv looks every second",
        )
    return warning(
        f"{dag_folder} is on {kind}, which tells nothing about saves made elsewhere",
        "move the project to a local disk; until then devenv looks every second",
    )


def inotify(machine: Machine, dag_folder: Path) -> Finding:
    """Linux' limits of watched folders; an IDE and other watchers count too."""
    if machine.platform != "linux":
        return skipped("only Linux limits them")
    watches = _number(machine.read("/proc/sys/fs/inotify/max_user_watches"))
    instances = _number(machine.read("/proc/sys/fs/inotify/max_user_instances"))
    folders_here = sum(1 for path in dag_folder.rglob("*") if path.is_dir()) + 1 if dag_folder.is_dir() else 1
    if watches and watches < folders_here * 2:
        return failure(
            f"fs.inotify.max_user_watches is {watches}, and the DAG folder has {folders_here} folders",
            "sudo sysctl fs.inotify.max_user_watches=524288; until then devenv looks every second",
        )
    if watches and watches < 16_384:
        return warning(
            f"fs.inotify.max_user_watches is {watches}, which an IDE alone can use up",
            "sudo sysctl fs.inotify.max_user_watches=524288",
        )
    if instances and instances < 64:
        return warning(f"fs.inotify.max_user_instances is {instances}", "sudo sysctl fs.inotify.max_user_instances=512")
    return ok(f"{watches} watches, {instances} instances" if watches else "no limit known")


def folders(machine: Machine, project: Project) -> Finding:
    """`.devenv/` and the data folder: writable, and private where secrets lie."""
    from devenv.doctor.check import Fix

    for folder in (project.state_folder, project.data_folder):
        place = folder
        while not place.exists():
            place = place.parent
        if not machine.writable(place):
            return failure(f"{place} cannot be written by this user", f"sudo chown -R $USER {place}")
    open_to_others = [
        path
        for path in (project.data_folder, project.data_folder / "seeds.json")
        if path.exists() and path.stat().st_mode & 0o077
    ]
    if open_to_others:

        def close() -> None:
            for path in open_to_others:
                path.chmod(0o700 if path.is_dir() else 0o600)

        names = " ".join(str(path) for path in open_to_others)
        return failure(
            f"other users of this machine can read {names}",
            f"chmod go-rwx {names}",
            fix=Fix(f"chmod go-rwx {names}", close),
        )
    return ok(str(project.data_folder))


def as_object(text: str) -> dict[str, Any]:
    """The JSON object that a program printed; empty where it printed none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _number(text: str) -> int:
    digits = re.match(r"\s*(\d+)", text)
    return int(digits.group(1)) if digits else 0
