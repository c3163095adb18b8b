"""From a save to the DAG volume and to a verdict, beside what people use otherwise, in the same run on the same pod.

    python benchmarks/save.py [SAVES]          in a namespace of its own on a running minikube profile

Per save a DAG file of 20 kB is written, and the time is taken from just before the write until the agent has answered
that the bytes are in the volume under their name (devenv), or until the command has ended (the others).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from devenv.cluster.exec import exec_duplex
from devenv.events import BatchSynced, FileSynced, VerdictReached, WatchStarted, silent
from devenv.sync.ignore import Ignore
from devenv.sync.loop import SyncLoop
from devenv.sync.model import Listener, Root, Target
from devenv.sync.watch import NativeWatcher
from tests.support.sync import Watching, project_at, tree
from tests.support.volume import InConfigMap, Volume, volume_in

_DAG = """from datetime import datetime
from airflow import DAG
from airflow.operators.empty import EmptyOperator

with DAG("benchmark", start_date=datetime(2024, 1, 1), schedule=None):
    EmptyOperator(task_id="version_{version}")
"""


_TELL = """
import time
seen = b""
while True:
    with open("/opt/airflow/dags/dag.py", "rb") as stream:
        now = stream.read()
    if now != seen:
        print("changed")
    seen = now
    time.sleep(0.05)
"""


def main(saves: int) -> None:
    """Prints the table."""
    with volume_in("sync-benchmark") as volume, tempfile.TemporaryDirectory(prefix="devenv-bench-") as place:
        rows: list[tuple[str, list[float]]] = []
        for name, kubectl in (("WebSocket", False), ("kubectl exec -i", True)):
            rows += through_devenv(volume, Path(place, name.replace(" ", "-")), name, saves, kubectl=kubectl)
        fastest = rows[0][1]
        source = Path(place, "dag.py")
        few = max(5, saves // 5)
        rows.append(("kubectl cp", repeat(few, lambda version: copy(volume, source, version))))
        rows.append(("tar over kubectl exec", repeat(few, lambda version: untar(volume, source, version))))
        rows.append(("ConfigMap, until a pod sees it", through_configmap(volume, Path(place, "configmap"))))
        print(f"\n{'save → volume, 20 kB':34}{'n':>5}{'p50':>9}{'p95':>9}{'p99':>9}{'against devenv':>16}")
        for name, times in rows:
            p50, p95, p99 = (percentile(times, share) * 1e3 for share in (0.5, 0.95, 0.99))
            ratio = f"{percentile(times, 0.5) / percentile(fastest, 0.5):.1f} x"
            print(f"{name:34}{len(times):5}{p50:6.0f} ms{p95:6.0f} ms{p99:6.0f} ms{ratio:>16}")
        print()
        large(volume, Path(place, "large"))


def through_devenv(
    volume: Volume, place: Path, name: str, saves: int, *, kubectl: bool
) -> list[tuple[str, list[float]]]:
    """Saves under the real watcher; the time to the volume and the time to the verdict."""
    volume.empty()
    project = project_at(place)
    dag = project.dag_folder / "dag.py"
    dag.write_bytes(content(-1))
    watcher = NativeWatcher([Root("dags", project.dag_folder)], Ignore())

    def opened(listener: Listener) -> Target:
        return volume.open_agent(listener, kubectl=kubectl, verdicts=True)

    to_volume, to_verdict = [], []
    with Watching(project, opened, watcher) as watch:
        watch.events.wait(WatchStarted, timeout=60)
        watch.events.wait(VerdictReached, timeout=120)
        for number in range(saves):
            time.sleep(random.uniform(0.2, 0.5))
            watch.events.clear()
            began = time.perf_counter()
            dag.write_bytes(content(number))
            watch.events.wait(FileSynced, timeout=30)
            to_volume.append(time.perf_counter() - began)
            watch.events.wait(VerdictReached, timeout=30)
            to_verdict.append(time.perf_counter() - began)
    return [(f"devenv, {name}", to_volume), (f"  … until the verdict, {name}", to_verdict)]


def through_configmap(volume: Volume, place: Path) -> list[float]:
    """The time until a pod that mounts the ConfigMap reads the new version: the kubelet's."""
    project = project_at(place)
    target = InConfigMap(volume)
    dag = project.dag_folder / "dag.py"
    dag.write_bytes(content(0))
    SyncLoop(project, target.open, silent).once()
    volume.make_configmap_reader()
    watching = exec_duplex(
        volume.cluster, volume.namespace, "mounts-configmap", "mounts-configmap", ["python3", "-u", "-c", _TELL]
    )
    times = []
    try:
        watching.read(60)
        for number in range(1, 6):
            time.sleep(2)
            began = time.perf_counter()
            dag.write_bytes(content(number))
            SyncLoop(project, target.open, silent).once()
            watching.read(120)
            times.append(time.perf_counter() - began)
    finally:
        watching.close()
        volume.delete_pod("mounts-configmap")
    return times


def large(volume: Volume, place: Path) -> None:
    """The first sync of 10,000 files, a `git checkout` that changes 2,000 of them, a file of 50 MB."""
    volume.empty()
    project = project_at(place)
    dags = project.dag_folder

    def git(*arguments: str) -> None:
        run(["git", "-C", str(place), "-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", *arguments])

    def module(number: int, variable: str) -> None:
        folder = dags / f"team{number % 100}"
        folder.mkdir(exist_ok=True)
        (folder / f"module_{number}.py").write_bytes(f"{variable} = {number}\n".encode() * 250)

    git("init", "--quiet", "--initial-branch=main")
    for number in range(10_000):
        module(number, "x")
    git("add", ".")
    git("commit", "--quiet", "-m", "main")
    git("checkout", "--quiet", "-b", "other")
    for number in range(2_000):
        module(number, "y")
    git("commit", "--quiet", "-am", "other")
    git("checkout", "--quiet", "main")
    with Watching(project, volume.open_agent, NativeWatcher([Root("dags", dags)], Ignore())) as watch:
        started = watch.events.wait(WatchStarted, timeout=120)[0]
        print(f"{'10,000 files of 2 kB, first sync':50}{started.seconds:8.2f} s")
        time.sleep(3)
        watch.events.clear()
        began = time.perf_counter()
        git("checkout", "--quiet", "other")
        switched = time.perf_counter() - began
        while sum(event.changed for event in watch.events.of(BatchSynced)) < 2_000:
            watch.events.wait(BatchSynced, len(watch.events.of(BatchSynced)) + 1, timeout=60)
        took = time.perf_counter() - began
        batches = len(watch.events.of(BatchSynced))
        print(f"{'a branch switch of 2,000 files':50}{took:8.2f} s (git took {switched:.2f} s; batches: {batches})")
        watch.events.clear()
        began = time.perf_counter()
        (dags / "large.bin").write_bytes(os.urandom(50_000_000))
        watch.events.wait(FileSynced, timeout=120)
        print(f"{'a file of 50 MB':50}{time.perf_counter() - began:8.2f} s")
    print(f"{'both sides identical':50}{volume.held() == tree(project.folder)!s:>8}")


def copy(volume: Volume, source: Path, version: int) -> None:
    """`kubectl cp`, which writes in place."""
    source.write_bytes(content(version))
    run([*volume.kubectl, "-n", volume.namespace, "cp", str(source), "agent:/devenv/claim/dags/dag.py"])


def untar(volume: Volume, source: Path, version: int) -> None:
    """A tar stream into a new `kubectl exec`, as Skaffold and Tilt do it per change."""
    source.write_bytes(content(version))
    packed = subprocess.run(["tar", "-C", str(source.parent), "-cf", "-", source.name], capture_output=True, check=True)
    into = ["exec", "-i", "agent", "--", "tar", "-C", "/devenv/claim/dags", "-xmf", "-"]
    run([*volume.kubectl, "-n", volume.namespace, *into], packed.stdout)


def run(command: list[str], stdin: bytes = b"") -> None:
    """Runs a program to its end."""
    subprocess.run(command, input=stdin, capture_output=True, check=True)


def repeat(count: int, action: Callable[[int], None]) -> list[float]:
    """Seconds that each call took."""
    times = []
    for number in range(count):
        began = time.perf_counter()
        action(number)
        times.append(time.perf_counter() - began)
    return times


def content(version: int) -> bytes:
    """A DAG file of 20 kB."""
    text = _DAG.format(version=version + 1)
    return (text + "# " + "x" * (20_000 - len(text) - 3) + "\n").encode()


def percentile(values: list[float], share: float) -> float:
    """The value below which this share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
    except pytest.skip.Exception as reason:
        print(f"skipped: {reason}")
