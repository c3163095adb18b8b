"""Each fault, injected as what the outside world would say, is found, named, and given a remedy."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from devenv.airflow.model import Dag, Heartbeat, ImportProblem
from devenv.backends.base import Component, EnvironmentStatus
from devenv.doctor import cluster, laptop, minikube, network, platform, sync
from devenv.doctor.check import Finding
from devenv.doctor.machine import Machine
from devenv.environment import Environment
from devenv.errors import ProgramMissing
from devenv.minikube.program import Minikube, Profile, Status
from devenv.process import Completed
from devenv.project import Project
from devenv.settings.schema import Settings

GIBI = 2**30
DOCKER = {"ServerVersion": "28.0", "NCPU": 4, "MemTotal": 8 * GIBI}
PROFILE = Profile("devenv", "docker", "containerd", 1, {}, "shop-1", "v1.34.4", 6144)
RUNNING = Status("Running", "Running", "Running")
NOW = 1_795_328_637.0


@dataclass
class Laptop(Machine):
    """A machine whose answers are given."""

    environment: Environment = field(default_factory=lambda: Environment(variables={}))
    platform: str = "linux"
    programs: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    """First words of a command → exit code, standard output, standard error."""
    files: dict[str, str] = field(default_factory=dict)
    bytes_of_memory: int = 16 * GIBI
    bytes_free: int = 100 * GIBI
    listeners: dict[int, str] = field(default_factory=dict)
    interfaces: list[tuple[str, str, str]] = field(default_factory=list)
    hosts: dict[str, list[str]] = field(default_factory=lambda: {"localhost": ["127.0.0.1"]})
    unwritable: tuple[Path, ...] = ()

    def run(self, command: Any, *, timeout: float = 10.0) -> Completed:
        for name, (code, out, err) in self.programs.items():
            if " ".join(command).startswith(name):
                return Completed(list(command), code, out, err)
        raise ProgramMissing(command[0])

    def read(self, path: str) -> str:
        return self.files.get(path, "")

    def memory(self) -> int:
        return self.bytes_of_memory

    def free_disk(self, folder: Path) -> int:
        return self.bytes_free

    def writable(self, folder: Path) -> bool:
        return folder not in self.unwritable

    def listener(self, port: int) -> str | None:
        return self.listeners.get(port)

    def addresses(self) -> list[tuple[str, str, str]]:
        return self.interfaces

    def resolve(self, host: str) -> list[str]:
        return self.hosts.get(host, [])


def docker_says(**changes: Any) -> Laptop:
    return Laptop(programs={"docker info": (0, json.dumps({**DOCKER, **changes}), "")})


def docker_fails(text: str) -> Laptop:
    return Laptop(programs={"docker info": (1, json.dumps({"ServerErrors": [text]}), "")})


MINIKUBE = Minikube("devenv", Environment(), Path("/nonexistent/kubeconfig"))


def profile(found: Profile | None = PROFILE, status: Status = RUNNING) -> Finding:
    return minikube.profile(
        "devenv", found, status, "shop-1", Minikube("devenv", Environment(), Path("/nonexistent/kubeconfig"))
    )


def mount(kind: str, at: str = "/") -> dict[str, str]:
    return {"/proc/self/mountinfo": f"24 1 8:1 / {at} rw - {kind} source rw\n"}


def limits(watches: int, instances: int) -> dict[str, str]:
    place = "/proc/sys/fs/inotify/max_user_"
    return {f"{place}watches": f"{watches}\n", f"{place}instances": f"{instances}\n"}


def node(**conditions: str) -> dict[str, Any]:
    shown = [{"type": kind, "status": status, "message": "kubelet stopped"} for kind, status in conditions.items()]
    return {"metadata": {"name": "devenv"}, "status": {"conditions": shown}}


def claim(name: str, phase: str = "Bound", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "status": {"phase": phase}}


CLAIMS = [claim(name) for name in cluster.CLAIMS]


def pod(**status: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": "scheduler"}
    return {"metadata": {"name": "scheduler-0", "labels": labels}, "spec": {}, "status": status}


def pulling(message: str) -> dict[str, Any]:
    waiting = {"reason": "ErrImagePull", "message": message}
    return pod(containerStatuses=[{"name": "scheduler", "image": "team/airflow:9", "state": {"waiting": waiting}}])


def lease(at: str) -> dict[str, Any]:
    return {"spec": {"renewTime": at}}


@dataclass
class Airflow:
    """What Airflow's API says."""

    heartbeats: dict[str, Heartbeat] = field(default_factory=dict)
    running: str = "2.7.2"
    problems: tuple[ImportProblem, ...] = ()
    base_url: str = "http://127.0.0.1:8080"
    all_dags: tuple[Dag, ...] = ()

    def health(self) -> dict[str, Heartbeat]:
        return self.heartbeats

    def version(self) -> str:
        return self.running

    def import_errors(self) -> tuple[ImportProblem, ...]:
        return self.problems


def beating(part: str, finding: Heartbeat | None) -> Finding:
    client: Any = Airflow({part: finding} if finding else {})
    return platform.heartbeat(client, part, {"dag_processor": "dag-processor"}.get(part, part), NOW, None)


def status(state: Any, *parts: Component) -> EnvironmentStatus:
    return EnvironmentStatus("minikube", "shop-1", state, parts)


PROXY = {"HTTPS_PROXY": "http://me:hunter2@proxy:3128"}
NODE = "192.168.49.2"
VPN_ROUTE = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"

FAULTS: dict[str, tuple[Callable[[], Finding], str, str, str]] = {
    # name: (look, level, a word of the cause, a word of the remedy)
    "Docker is not installed": (lambda: laptop.docker(Laptop()), "failure", "not installed", "--backend local"),
    "Docker does not run": (
        lambda: laptop.docker(docker_fails("Cannot connect to the Docker daemon")),
        "failure",
        "does not answer",
        "systemctl start docker",
    ),
    "the user may not use Docker": (
        lambda: laptop.docker(docker_fails("permission denied while trying to connect")),
        "failure",
        "may not use",
        "usermod -aG docker",
    ),
    "Docker has little memory": (lambda: laptop.docker(docker_says(MemTotal=2 * GIBI)), "failure", "2.0 GiB", "give"),
    "Docker has one processor": (lambda: laptop.docker(docker_says(NCPU=1)), "failure", "1 processor", "give"),
    "little memory": (lambda: laptop.memory(Laptop(bytes_of_memory=3 * GIBI), cluster=True), "failure", "3.0", "local"),
    "the disk is nearly full": (lambda: laptop.disk(Laptop(bytes_free=GIBI), None), "failure", "1.0 GiB", "prune"),
    "WSL 1": (
        lambda: laptop.wsl(Laptop(files={"/proc/version": "Linux version 4.4.0-19041-Microsoft"})),
        "failure",
        "WSL 1",
        "--set-version",
    ),
    "the DAG folder is on Windows' disk": (
        lambda: laptop.file_system(
            Laptop(files={**mount("9p"), "/proc/version": "Linux 5.15-microsoft-standard-WSL2"}), Path.cwd()
        ),
        "warning",
        "Windows' disk",
        "into WSL",
    ),
    "the DAG folder is on NFS": (
        lambda: laptop.file_system(Laptop(files=mount("nfs4")), Path.cwd()),
        "warning",
        "nfs4",
        "local disk",
    ),
    "too few inotify watches": (
        lambda: laptop.inotify(Laptop(files=limits(8192, 128)), Path("/nonexistent")),
        "warning",
        "max_user_watches is 8192",
        "sysctl",
    ),
    "too few inotify instances": (
        lambda: laptop.inotify(Laptop(files=limits(524288, 8)), Path("/nonexistent")),
        "warning",
        "max_user_instances is 8",
        "sysctl",
    ),
    "localhost is elsewhere": (
        lambda: network.names(Laptop(hosts={"localhost": ["10.0.0.1"]})),
        "failure",
        "10.0.0.1",
        "/etc/hosts",
    ),
    "no DNS": (lambda: network.names(Laptop()), "warning", "registry-1.docker.io", "cannot be pulled"),
    "a proxy without exceptions": (lambda: network.proxy(PROXY, NODE), "failure", "lacks 127.0.0.1", NODE),
    "a proxy that is asked for minikube": (
        lambda: network.proxy({**PROXY, "NO_PROXY": "localhost,127.0.0.1"}, NODE),
        "failure",
        f"lacks {NODE}",
        "localhost,127.0.0.1,192.168.49.2",
    ),
    "a VPN that takes minikube's network": (
        lambda: network.vpn(Laptop(interfaces=[("tun0", "192.168.49.77", "255.255.255.0")]), NODE),
        "failure",
        "tun0 takes 192.168.49.0/24",
        "split tunnel",
    ),
    "a VPN whose route contains it": (
        lambda: network.vpn(
            Laptop(files={"/proc/net/route": f"{VPN_ROUTE}utun3\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\n"}), NODE
        ),
        "warning",
        "utun3 claims 192.168.0.0/16",
        "split tunnel",
    ),
    "minikube is not installed": (lambda: minikube.version(Laptop()), "failure", "not installed", "minikube.sigs"),
    "minikube is old": (
        lambda: minikube.version(Laptop(programs={"minikube version": (0, "v1.25.2\n", "")})),
        "failure",
        "older than v1.32",
        "update it",
    ),
    "the profile is gone": (lambda: profile(None), "failure", "is gone", "devenv up"),
    "the profile is stopped": (
        lambda: profile(status=Status("Stopped", "Stopped", "Stopped")),
        "failure",
        "is stopped",
        "devenv up",
    ),
    "the profile is paused": (
        lambda: profile(status=Status("Running", "Paused", "Paused")),
        "failure",
        "is paused",
        "minikube unpause -p devenv",
    ),
    "Docker was restarted under minikube": (
        lambda: profile(status=Status("Running", "Stopped", "Stopped")),
        "failure",
        "API server stopped",
        "devenv up",
    ),
    "the profile has two nodes": (
        lambda: profile(Profile("devenv", "docker", "containerd", 2, {}, "shop-1", "v1.34.4", 6144)),
        "failure",
        "2 nodes",
        "profile",
    ),
    "the profile is another project's": (
        lambda: profile(Profile("devenv", "docker", "containerd", 1, {}, "other-2", "v1.34.4", 6144)),
        "failure",
        "other-2",
        "profile of its own",
    ),
    "kubectl is too old": (
        lambda: minikube.kubectl(
            Laptop(programs={"kubectl version": (0, '{"clientVersion": {"gitVersion": "v1.28.1"}}', "")}), "v1.34.4"
        ),
        "warning",
        "v1.28.1",
        "update kubectl",
    ),
    "the context is gone": (
        lambda: minikube.context(MINIKUBE),
        "failure",
        "no context devenv",
        "devenv up",
    ),
    "the node is short of disk": (
        lambda: cluster.nodes([node(DiskPressure="True", Ready="True")]),
        "failure",
        "short of disk",
        "prune",
    ),
    "the node is not ready": (lambda: cluster.nodes([node(Ready="False")]), "failure", "kubelet stopped", "devenv up"),
    "the cluster's clock is ahead": (
        lambda: cluster.clock([lease("2026-11-22T07:23:57.123456Z")], NOW),
        "warning",
        "3600 s ahead",
        "clock",
    ),
    "the cluster's clock stood still": (
        lambda: cluster.clock([lease("2026-11-22T05:23:57Z")], NOW),
        "warning",
        "behind",
        "minikube stop",
    ),
    "CoreDNS does not run": (lambda: cluster.cluster_dns([]), "failure", "CoreDNS", "rollout restart"),
    "the DAG claim is gone": (lambda: cluster.claims(CLAIMS[1:]), "failure", "airflow-dag-pvc", "devenv up"),
    "a claim is being deleted": (
        lambda: cluster.claims([claim(cluster.CLAIMS[0], deletionTimestamp="2026-11-22T06:00:00Z"), *CLAIMS[1:]]),
        "failure",
        "being deleted",
        "devenv down",
    ),
    "no storage class": (
        lambda: cluster.claims([claim(cluster.CLAIMS[0], "Pending"), *CLAIMS[1:]]),
        "failure",
        "pending",
        "storage",
    ),
    "an image that does not exist": (
        lambda: cluster.images([pulling("manifest for team/airflow:9 not found")]),
        "failure",
        "no such image",
        "devenv.toml",
    ),
    "a registry that wants a login": (
        lambda: cluster.images([pulling("unauthorized: authentication required")]),
        "failure",
        "wants a login",
        "pull_secret",
    ),
    "nothing was ever started": (lambda: platform.components(status("missing")), "failure", "nothing", "devenv up"),
    "a component that failed": (
        lambda: platform.components(status("partly", Component("triggerer", "failed", "ended with exit code 1\nboom"))),
        "failure",
        "triggerer is failed: ended with exit code 1",
        "devenv logs triggerer",
    ),
    "a component that restarts": (
        lambda: platform.components(status("up", Component("scheduler", "running", restarts=7))),
        "warning",
        "scheduler 7 times",
        "devenv logs",
    ),
    "the database does not answer Airflow": (
        lambda: platform.database(Airflow({"metadatabase": Heartbeat("unhealthy")}), None),  # type: ignore[arg-type]
        "failure",
        "database",
        "devenv logs postgres",
    ),
    "the scheduler hangs": (
        lambda: beating("scheduler", Heartbeat("unhealthy", NOW - 95)),
        "failure",
        "the last 95 s ago: no task is started",
        "devenv logs scheduler",
    ),
    "the triggerer never ran": (lambda: beating("triggerer", None), "failure", "never ran", "devenv logs triggerer"),
    "the dag-processor hangs": (
        lambda: beating("dag_processor", Heartbeat("unhealthy")),
        "failure",
        "not parsed",
        "devenv logs dag-processor",
    ),
    "another release runs": (
        lambda: platform.release(Airflow(running="2.8.1"), "2.7.2"),
        "warning",
        "2.8.1",
        "devenv up",
    ),  # type: ignore[arg-type]
    "a DAG file does not parse": (
        lambda: platform.dag_files(Airflow(problems=(ImportProblem("a.py", "Tr\nNameError: x"),))),  # type: ignore[arg-type]
        "warning",
        "a.py: NameError: x",
        "devenv dags --broken",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_found_and_explained(name: str) -> None:
    look, level, cause, remedy = FAULTS[name]
    finding = look()
    assert finding.level == level
    assert cause in finding.cause
    assert remedy in finding.remedy
    assert "hunter2" not in finding.cause


def test_there_are_faults_enough() -> None:
    assert len(FAULTS) >= 25


HEALTHY: dict[str, Callable[[], Finding]] = {
    "Docker": lambda: laptop.docker(docker_says()),
    "memory": lambda: laptop.memory(Laptop(), cluster=True),
    "disk": lambda: laptop.disk(Laptop(), None),
    "no WSL": lambda: laptop.wsl(Laptop(files={"/proc/version": "Linux version 6.1.0 (Debian)"})),
    "WSL 2": lambda: laptop.wsl(Laptop(files={"/proc/version": "5.15.0-microsoft-standard-WSL2"})),
    "file system": lambda: laptop.file_system(Laptop(files=mount("ext4")), Path.cwd()),
    "inotify": lambda: laptop.inotify(Laptop(files=limits(524288, 512)), Path("/nonexistent")),
    "names": lambda: network.names(Laptop(hosts={"localhost": ["::1"], "registry-1.docker.io": ["1.2.3.4"]})),
    "no proxy": lambda: network.proxy({}, NODE),
    "a proxy with exceptions": lambda: network.proxy(
        {**PROXY, "no_proxy": "localhost,127.0.0.0/8,192.168.0.0/16,10.96.0.0/12"}, NODE
    ),
    "a VPN elsewhere": lambda: network.vpn(Laptop(interfaces=[("tun0", "10.8.0.2", "255.255.255.0")]), NODE),
    "minikube": lambda: minikube.version(Laptop(programs={"minikube version": (0, "v1.38.1\n", "")})),
    "profile": profile,
    "kubectl not installed": lambda: minikube.kubectl(Laptop(), "v1.34.4"),
    "nodes": lambda: cluster.nodes([node(Ready="True", DiskPressure="False")]),
    "clock": lambda: cluster.clock([lease("2026-11-22T06:23:50.123456Z")], NOW),
    "claims": lambda: cluster.claims(CLAIMS),
    "components": lambda: platform.components(status("up", Component("scheduler", "running"))),
    "scheduler": lambda: beating("scheduler", Heartbeat("healthy", NOW)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_what_is_well_is_not_accused(name: str) -> None:
    assert HEALTHY[name]().level == "ok"


# --- with a real project folder ---


@pytest.fixture
def project(project_folder: Path, tmp_path: Path) -> Project:
    return Project(project_folder, Settings(), Environment(variables={"DEVENV_DATA": str(tmp_path / "data")}))


def test_a_taken_port_names_its_holder_but_not_our_own(project: Project) -> None:
    machine = Laptop(listeners={8080: "nginx (process 812)"})
    assert "8080 (airflow) by nginx (process 812)" in network.ports(machine, project, set()).cause
    assert network.ports(machine, project, {8080}).level == "ok"


def test_folders_that_cannot_be_written_or_that_others_can_read(project: Project) -> None:
    project.data_folder.mkdir(parents=True, mode=0o700)
    seeds = project.data_folder / "seeds.json"
    seeds.write_text("{}")
    seeds.chmod(0o644)
    found = laptop.folders(Laptop(), project)
    assert str(seeds) in found.cause
    assert found.fix is not None
    found.fix.apply()
    assert laptop.folders(Laptop(), project).level == "ok"
    unwritable = laptop.folders(Laptop(unwritable=(project.folder,)), project)
    assert "cannot be written" in unwritable.cause


def made(path: Path) -> Path:
    path.touch()
    return path


@pytest.mark.parametrize(
    ("make", "level", "cause"),
    [
        (lambda dags: dags.rmdir(), "failure", "no DAG folder"),
        (lambda dags: None, "warning", "holds no DAG file"),
        (lambda dags: (dags / "a.py").symlink_to("/etc/hostname") or (dags / "b.py").touch(), "warning", "a.py"),
        (
            lambda dags: (dags / "a.py").touch() or os.truncate(made(dags / "b.csv"), 2**26),
            "warning",
            "b.csv",
        ),
        (lambda dags: (dags / "a.py").touch(), "ok", "1 Python file"),
    ],
)
def test_the_dag_folder(make: Callable[[Path], Any], level: str, cause: str, project: Project) -> None:
    make(project.dag_folder)
    found = sync.dag_folder(project)
    assert found.level == level
    assert cause in found.cause


def test_a_file_that_cannot_be_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.dag_folder / "mine.py").touch()
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "mine.py" not in str(path) and allowed(path, mode)
    )  # also for root
    found = sync.dag_folder(project)
    assert (found.level, found.remedy) == ("failure", f"chmod u+r {project.dag_folder / 'mine.py'}")


def test_nobody_watches(project: Project) -> None:
    from devenv.sync.lock import WatchLock

    assert sync.watch(project).level == "warning"
    with WatchLock(project.make_state_folder()):
        assert sync.watch(project).cause == f"process {os.getpid()}"
