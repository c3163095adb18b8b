"""The sync loop when the cluster fails it: after each fault both sides are the same, and no reader saw half a file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import random
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from devenv.agent_program import agent_command
from devenv.cluster.exec import exec_duplex
from devenv.duplex import DuplexClosed
from devenv.events import ConnectionChanged, FileSynced, Notice, WatchStarted
from devenv.project import Project
from devenv.resources import platform_folder
from devenv.sync.ignore import Ignore
from devenv.sync.model import Listener, Root, Target
from devenv.sync.targets.agent import AgentOptions, AgentTarget, ClaimInUse, JobIsWriting, Owner
from devenv.sync.watch import NativeWatcher
from tests.support.sync import Watching, project_at, tree
from tests.support.volume import (
    IMAGE,
    OWNER,
    OverKubectlCopy,
    OverKubectlExec,
    OverWebSocket,
    Volume,
    volume_in,
    wait_for,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

_OTHER_IMAGE = "apache/airflow:devenv-other"
_LOOK = """
import hashlib, json, os, select, time
looks, torn, missing = 0, 0, 0
def look():
    global looks, torn, missing
    for number in range(20):
        try:
            with open("/opt/airflow/dags/f%d.py" % number, "rb") as stream:
                content = stream.read()
        except FileNotFoundError:
            missing += 1
            continue
        looks += 1
        torn += content[:32] != hashlib.sha256(content[32:]).digest()
"""

_LOOKER = (
    _LOOK
    + """
told = 0.0
result = "/results/%d" % time.time_ns()
while True:
    look()
    if time.monotonic() - told > 0.3:
        with open(result + ".new", "w") as stream:
            json.dump([looks, torn, missing], stream)
        os.replace(result + ".new", result)
        told = time.monotonic()
    time.sleep(0.002)
"""
)

_READER = (
    _LOOK
    + """
while not select.select([0], [], [], 0)[0]:
    look()
print(looks, torn, missing)
"""
)


@pytest.fixture(scope="module")
def made() -> Iterator[Volume]:
    with volume_in("sync-faults") as volume:
        yield volume


@pytest.fixture
def volume(made: Volume) -> Volume:
    made.empty()
    return made


def _signed(number: int) -> bytes:
    body = random.Random(number).randbytes(20_000 + number)
    return hashlib.sha256(body).digest() + body


class Reader:
    """Reads f0.py … f19.py in a pod, all the time; each file tells by itself whether it is whole."""

    def __init__(self, volume: Volume) -> None:
        self._session = exec_duplex(volume.cluster, volume.namespace, "reader", "", ["python3", "-u", "-c", _READER])

    def result(self) -> tuple[int, int, int]:
        """How often it looked, saw a torn file, saw none."""
        self._session.write(b"\n")
        output = b""
        try:
            while output.count(b"\n") < 1:
                output += self._session.read(20)
        except DuplexClosed:
            pass
        self._session.close()
        looks, torn, missing = output.split()
        return int(looks), int(torn), int(missing)


class Looker:
    """Reads as `Reader` does, as a pod of its own that needs no connection and goes on after a restart of the node."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        volume.make_pod("looker", command=["python3", "-u", "-c", _LOOKER])

    def result(self) -> tuple[int, int, int]:
        """How often it looked, saw a torn file, saw none; of all its lives."""
        add = "import glob, json; print(*map(sum, zip(*[json.load(open(p)) for p in glob.glob('/results/*[0-9]')])))"
        found = wait_for(lambda: self._volume.run("looker", ["python3", "-c", add]), "the looker's answer")
        self._volume.delete_pod("looker")
        looks, torn, missing = map(int, found.split())
        return looks, torn, missing


def _steady(volume: Volume, project: Project, watch: Watching, looker: Looker) -> None:
    """What must hold after every fault: both sides the same, no half file seen, one line that says what happened."""
    wait_for(lambda: volume.held() == tree(project.folder), "trees identical", 300)
    looks, torn, missing = looker.result()
    assert looks > 100
    assert (torn, missing) == (0, 0)
    states = [event.state for event in watch.events.of(ConnectionChanged)]
    assert states == ["lost", "reconnecting", "connected"]


def _changes(dags: Path, chance: random.Random, name: str) -> None:
    """Saves, a new file, a rename and a delete; f0.py … f19.py stay, for whoever reads them all the time."""
    for _ in range(60):
        (dags / f"f{chance.randrange(100)}.py").write_bytes(_signed(chance.randrange(9_000)))
    (dags / name).write_text("saved while nobody listened")
    gone = sorted(dags.glob("f[2-9][0-9].py"))
    gone[0].unlink()
    gone[1].rename(dags / f"moved_{name}")


def _watched(volume: Volume, project: Project) -> Watching:
    dags = project.dag_folder
    for number in range(100):
        (dags / f"f{number}.py").write_bytes(_signed(number))
    return Watching(project, volume.open_agent, NativeWatcher([Root("dags", dags)], Ignore()))


@pytest.mark.main
@pytest.mark.parametrize("transport", [OverWebSocket, OverKubectlExec, OverKubectlCopy])
def test_the_agent_s_pod_is_killed_and_made_anew_while_files_change(
    volume: Volume, tmp_path: Path, transport: type[OverWebSocket | OverKubectlExec | OverKubectlCopy]
) -> None:
    """An eviction, a node drain, a changed image: the pod is another one, with another identity."""
    project = project_at(tmp_path)
    dags = project.dag_folder
    chance = random.Random(3)
    for number in range(200):
        (dags / f"f{number}.py").write_bytes(_signed(number))
    watcher = NativeWatcher([Root("dags", dags)], Ignore())
    with Watching(project, transport(volume).open, watcher) as watch:
        watch.events.wait(WatchStarted, timeout=240)
        reader = Reader(volume)
        for round_ in range(2):
            for _ in range(100):
                (dags / f"f{chance.randrange(200)}.py").write_bytes(_signed(chance.randrange(9_000)))
            volume.delete_pod("agent")
            (dags / f"f{20 + round_}.py").unlink()
            (dags / f"new{round_}.py").write_text("saved while there was no pod")
            volume.make_pod("agent")
            # Without a session, a copy to the pod before and what puts it into place in the next one can meet.
            if transport is not OverKubectlCopy:
                watch.events.wait(ConnectionChanged, 3 * (round_ + 1), timeout=240)
            wait_for(lambda: volume.held() == tree(project.folder), "trees identical")
        looks, torn, missing = reader.result()
    assert looks > 100
    assert (torn, missing) == (0, 0)
    states = [event.state for event in watch.events.of(ConnectionChanged)]
    losses = len(states) // 3 if transport is OverKubectlCopy else 2
    assert states == ["lost", "reconnecting", "connected"] * losses


@pytest.mark.parametrize("way", ["evicted", "another image"])
def test_the_agent_s_pod_is_taken_away(volume: Volume, tmp_path: Path, way: str) -> None:
    """By the Eviction API, as a drained node does it; and a new image in the same pod, whose container is replaced."""
    project = project_at(tmp_path)
    chance = random.Random(5)
    with _watched(volume, project) as watch:
        watch.events.wait(WatchStarted, timeout=240)
        looker = Looker(volume)
        if way == "evicted":
            name = {"name": "agent", "namespace": volume.namespace}
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name}
            path = f"/api/v1/namespaces/{volume.namespace}/pods/agent/eviction"
            volume.cluster.request("POST", path, body=eviction)
            _changes(project.dag_folder, chance, "evicted.py")
            wait_for(lambda: volume.cluster.get("Pod", "agent", volume.namespace) is None, "the pod's end")
            volume.make_pod("agent")
        else:
            _in_node(volume, "ctr", "-n", "k8s.io", "images", "tag", "--force", *_both_images())
            patch = {"spec": {"containers": [{"name": "agent", "image": _OTHER_IMAGE}]}}
            kubectl = [*volume.kubectl, "-n", volume.namespace, "patch", "pod", "agent", "-p", json.dumps(patch)]
            subprocess.run(kubectl, check=True, capture_output=True)
            _changes(project.dag_folder, chance, "other_image.py")
        watch.events.wait(ConnectionChanged, 3, timeout=240)
        _steady(volume, project, watch, looker)
    volume.delete_pod("agent")
    volume.make_pod("agent")


def _both_images() -> tuple[str, str]:
    return f"docker.io/{IMAGE}", f"docker.io/{_OTHER_IMAGE}"


def _in_node(volume: Volume, *command: str) -> str:
    """Runs a program as root in minikube's node."""
    there = ["minikube", "-p", volume.profile, "ssh", "--", "sudo", *command]
    return subprocess.run(there, check=True, capture_output=True, text=True).stdout


def test_the_api_server_restarts(volume: Volume, tmp_path: Path) -> None:
    """Killed in the node, twice: the pod and its agent live on, the sessions break, and nothing answers for a while."""
    project = project_at(tmp_path)
    chance = random.Random(6)
    with _watched(volume, project) as watch:
        watch.events.wait(WatchStarted, timeout=240)
        looker = Looker(volume)
        server = _in_node(volume, "crictl", "ps", "--name", "kube-apiserver", "-q").split()
        _changes(project.dag_folder, chance, "before.py")
        _in_node(volume, "crictl", "stop", "--timeout", "0", *server)
        _changes(project.dag_folder, chance, "during.py")
        watch.events.wait(ConnectionChanged, 3, timeout=300)
        _changes(project.dag_folder, chance, "after.py")
        _steady(volume, project, watch, looker)


def test_the_connection_breaks(volume: Volume, tmp_path: Path) -> None:
    """As when the API server restarts, or a VPN reconnects: the pod and its agent live on."""
    project, sessions = project_at(tmp_path), []

    def opened(listener: Listener) -> Target:
        def websocket() -> Any:
            sessions.append(exec_duplex(volume.cluster, volume.namespace, "agent", "agent", agent_command()))
            return sessions[-1]

        options = AgentOptions(claim="/devenv/claim", airflow="/opt/airflow", verdicts=False)
        return AgentTarget(websocket, listener, OWNER, ["dags"], options)

    with Watching(project, opened) as watch:
        watch.events.wait(WatchStarted, timeout=240)
        for number in range(3):
            sessions[-1]._client.abort()  # the socket ends, with no farewell
            (project.dag_folder / f"{number}.py").write_text("saved meanwhile")
            watch.watcher.notice()
            watch.events.wait(FileSynced, number + 1, timeout=240)
        assert volume.held() == tree(project.folder)


def test_the_volume_is_full(volume: Volume, tmp_path: Path) -> None:
    """The pod's real ENOSPC: nothing half is left, the version before stays, and it goes on by itself."""
    project = project_at(tmp_path)
    small = {"name": "small", "emptyDir": {"medium": "Memory", "sizeLimit": "2Mi"}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "small", "namespace": volume.namespace},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsUser": 50000, "runAsGroup": 0, "fsGroup": 0},
            "containers": [
                {
                    "name": "agent",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["dumb-init", "--", "sleep", "infinity"],
                    "volumeMounts": [{"name": "small", "mountPath": "/devenv/claim"}],
                }
            ],
            "volumes": [small],
        },
    }
    volume.cluster.apply([pod])
    volume.wait_running("small")

    def opened(listener: Listener) -> Target:
        options = AgentOptions(claim="/devenv/claim", airflow="/devenv/claim", verdicts=False)
        start = lambda: exec_duplex(volume.cluster, volume.namespace, "small", "agent", agent_command())  # noqa: E731
        return AgentTarget(start, listener, OWNER, ["dags"], options)

    big = project.dag_folder / "big.bin"
    big.write_bytes(_signed(1))
    try:
        with Watching(project, opened) as watch:
            watch.events.wait(WatchStarted, timeout=240)
            big.write_bytes(random.Random(2).randbytes(4_000_000))
            watch.watcher.notice(big)
            [notice] = watch.events.wait(Notice, timeout=240)
            assert "no space left" in notice.message
            there = volume.run("small", ["sh", "-c", "cd /devenv/claim/dags && ls -A && sha256sum big.bin"]).decode()
            assert there.split()[:2] == ["big.bin", hashlib.sha256(_signed(1)).hexdigest()]
            big.write_bytes(_signed(3))
            watch.watcher.notice(big)
            watch.events.wait(FileSynced, 2, timeout=240)
    finally:
        volume.delete_pod("small")


def test_the_node_s_disk_is_full(volume: Volume, tmp_path: Path) -> None:
    """The claim's own file system: the version before stays, the reason is told once, it goes on when there is room."""
    project = project_at(tmp_path)
    claim = volume.cluster.get("PersistentVolumeClaim", "airflow-dag-pvc", volume.namespace)
    place = volume.cluster.get("PersistentVolume", claim["spec"]["volumeName"])["spec"]["hostPath"]["path"]
    for pod in ("agent", "reader"):
        volume.delete_pod(pod)
    # Small and of its own: the machine that runs this test has no disk to give away.
    _in_node(volume, "mount", "-t", "tmpfs", "-o", "size=5m,mode=0777", "tmpfs", place)
    try:
        for pod in ("agent", "reader"):
            volume.make_pod(pod)
        with _watched(volume, project) as watch:
            watch.events.wait(WatchStarted, timeout=240)
            looker = Looker(volume)
            filler = f"{place}/others.bin"
            _in_node(volume, "sh", "-c", f"'head -c 10000000 /dev/zero > {filler} || true'")
            before = volume.held()
            for number in range(20):
                (project.dag_folder / f"f{number}.py").write_bytes(_signed(1_000 + number))
            [*_, notice] = watch.events.wait(Notice, 20, timeout=240)
            assert "no space left" in notice.message
            assert volume.held() == before  # not one of them is half there, or gone
            _in_node(volume, "rm", filler)
            wait_for(lambda: volume.held() == tree(project.folder), "all of it, by itself", 120)
            assert len(watch.events.of(Notice)) == 20  # told once for each file
            looks, torn, missing = looker.result()
            assert looks > 100
            assert (torn, missing) == (0, 0)
    finally:
        for pod in ("agent", "reader"):
            volume.delete_pod(pod)
        _in_node(volume, "umount", place)
        for pod in ("agent", "reader"):
            volume.make_pod(pod)


def test_the_claim_is_deleted_and_made_anew(volume: Volume, tmp_path: Path) -> None:
    project = project_at(tmp_path)
    for number in range(20):
        (project.dag_folder / f"f{number}.py").write_bytes(_signed(number))
    with Watching(project, volume.open_agent) as watch:
        watch.events.wait(WatchStarted, timeout=240)
        for pod in ("agent", "reader"):
            volume.delete_pod(pod)
        claim = volume.cluster.get("PersistentVolumeClaim", "airflow-dag-pvc", volume.namespace)
        volume.cluster.delete("PersistentVolumeClaim", "airflow-dag-pvc", volume.namespace, wait_seconds=60)
        # minikube's provisioner names the folder after the claim, and would remove it from under the new one.
        old = claim["spec"]["volumeName"]
        wait_for(lambda: volume.cluster.get("PersistentVolume", old) is None, "the old volume's end")
        volume.make_claim()
        for pod in ("agent", "reader"):
            volume.make_pod(pod)
        wait_for(lambda: volume.held() == tree(project.folder), "all files back")


def test_a_laptop_whose_clock_is_an_hour_off(volume: Volume, tmp_path: Path) -> None:
    project = project_at(tmp_path)
    for hours in (-1, 1):
        wrong = replace(project.environment, now=lambda h=hours: time.time() + 3600 * h)
        shifted = replace(project, environment=wrong)
        file = project.dag_folder / f"dag{hours}.py"
        file.write_text("first")
        with Watching(shifted, volume.open_agent) as watch:
            watch.events.wait(WatchStarted, timeout=240)
            count = len(watch.events.of(FileSynced))
            file.write_text("again")
            watch.watcher.notice(file)
            watch.events.wait(FileSynced, count + 1, timeout=240)
            assert volume.held() == tree(project.folder)
    ages = volume.run(
        "reader", ["sh", "-c", "cd /opt/airflow/dags && for f in *; do echo $(($(date +%s) - $(stat -c %Y $f))); done"]
    )
    assert all(0 <= int(age) < 300 for age in ages.split())  # the pod's now, whatever the laptop believes


def test_a_second_laptop_is_refused_and_told_whose_claim_it_is(volume: Volume, tmp_path: Path) -> None:
    project = project_at(tmp_path)
    grace = Owner("other-project", "desktop", "grace", "/elsewhere")
    with Watching(project, volume.open_agent) as watch:
        watch.events.wait(WatchStarted, timeout=240)
        with pytest.raises(ClaimInUse, match=r"ada@laptop, folder /project"):
            volume.open_agent(watch.loop._ear(), owner=grace)


def _job(volume: Volume) -> dict[str, Any]:
    """The Job and what it needs, in the test's namespace."""
    folder = platform_folder() / "components" / "flux" / "job"
    objects = list(yaml.safe_load_all((folder / "rbac.yaml").read_text()))
    program = {"fetch_repository.py": (folder / "fetch_repository.py").read_text()}
    objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fetch-repository"}, "data": program})
    for item in objects:
        item["metadata"]["namespace"] = volume.namespace
    volume.cluster.apply(objects)
    job = yaml.safe_load((folder / "sync-dags.yaml").read_text())
    job["metadata"]["namespace"] = volume.namespace
    job["spec"]["backoffLimit"] = 0
    return job


@contextlib.contextmanager
def _git_repository(volume: Volume, url: str, content: bytes) -> Iterator[None]:
    """What Flux would leave in the cluster once it has fetched the repository; its controllers are not here."""
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "gitrepositories.source.toolkit.fluxcd.io"},
        "spec": {
            "group": "source.toolkit.fluxcd.io",
            "names": {"kind": "GitRepository", "plural": "gitrepositories"},
            "scope": "Namespaced",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    },
                }
            ],
        },
    }
    artifact = {"url": url, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}
    repository = {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": "dags", "namespace": volume.namespace},
        "status": {"artifact": artifact},
    }

    def kubectl(*arguments: str, given: dict[str, Any]) -> bool:
        command = [*volume.kubectl, *arguments, "-f", "-"]
        done = subprocess.run(command, check=False, input=json.dumps(given).encode(), capture_output=True)
        return done.returncode == 0

    assert kubectl("apply", given=definition)
    try:
        wait_for(lambda: kubectl("apply", given=repository), "the kind GitRepository")
        yield
    finally:
        kubectl("delete", given=definition)


def _run_job(volume: Volume, job: dict[str, Any]) -> tuple[bool, str]:
    """Runs the Job to its end: whether it succeeded, and its log."""
    volume.cluster.apply([job])

    def ended() -> dict[str, Any] | None:
        found = volume.cluster.get("Job", "sync-dags", volume.namespace)
        status = (found or {}).get("status", {})
        return status if status.get("succeeded") or status.get("failed") else None

    status = wait_for(ended, "the Job's end")
    command = [*volume.kubectl, "-n", volume.namespace, "logs", "job/sync-dags", "-c", "sync-dags"]
    log = subprocess.run(command, capture_output=True, text=True, check=True)
    volume.cluster.delete("Job", "sync-dags", volume.namespace, wait_seconds=60)
    return bool(status.get("succeeded")), log.stdout + log.stderr


def test_the_sync_dags_job_and_the_agent_refuse_each_other(volume: Volume, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(platform_folder().parent / "sync-dags.sh", "sync-dags.sh")
        for name in ("dags/from_git.py", "dags/team/helper.py"):
            member = tarfile.TarInfo(name)
            member.size, member.mode = 7, 0o644
            archive.addfile(member, io.BytesIO(b"# a dag"))
    volume.run("agent", ["sh", "-c", "mkdir -p /tmp/web && cat > /tmp/web/a1b2c3.tar.gz"], packed.getvalue())
    volume.run("agent", ["sh", "-c", "cd /tmp/web && (python3 -m http.server 8000 >/dev/null 2>&1 &)"])
    address = volume.cluster.get("Pod", "agent", volume.namespace)["status"]["podIP"]
    job = _job(volume)
    project = project_at(tmp_path)
    (project.dag_folder / "laptop.py").write_text("x")

    with _git_repository(volume, f"http://{address}:8000/a1b2c3.tar.gz", packed.getvalue()):
        with Watching(project, volume.open_agent) as watch:
            watch.events.wait(WatchStarted, timeout=240)
            succeeded, log = _run_job(volume, job)
            assert not succeeded
            assert "devenv's agent is writing to this claim" in log
            assert volume.held() == tree(project.folder)
        succeeded, log = _run_job(volume, job)
        assert succeeded, log
    assert set(volume.held()) == {"dags/from_git.py", "dags/team", "dags/team/helper.py"}
    assert b"manifest.json" in volume.run("agent", ["ls", "/devenv/claim/.devenv"])  # rsync --delete left it alone

    holding = exec_duplex(
        volume.cluster,
        volume.namespace,
        "agent",
        "agent",
        ["flock", "/devenv/claim/.devenv/job.lock", "sh", "-c", "echo held; sleep 600"],
    )
    try:
        assert holding.read(20) == b"held\n"
        with pytest.raises(JobIsWriting):
            volume.open_agent(_Deaf())
    finally:
        holding.close()


def test_minikube_is_stopped_and_started(volume: Volume, tmp_path: Path) -> None:
    """The node ends under the watch and comes back, with the API server on another port of this machine."""
    project = project_at(tmp_path)
    chance = random.Random(8)
    with _watched(volume, project) as watch:
        watch.events.wait(WatchStarted, timeout=240)
        looker = Looker(volume)
        _changes(project.dag_folder, chance, "before.py")
        minikube = ["minikube", "-p", volume.profile]
        subprocess.run([*minikube, "stop"], check=True, capture_output=True)
        _changes(project.dag_folder, chance, "stopped.py")
        subprocess.run([*minikube, "start", "--keep-context"], check=True, capture_output=True)
        watch.events.wait(ConnectionChanged, 3, timeout=300)
        _changes(project.dag_folder, chance, "started.py")
        _steady(volume, project, watch, looker)


class _Deaf:
    def verdict(self, verdict: object) -> None:
        pass

    def lost(self, reason: str) -> None:
        pass
