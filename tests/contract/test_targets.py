"""One suite on every target that needs no cluster; `tests/cluster/test_sync_targets.py` runs it on the others."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devenv.agent_program import agent_command
from devenv.events import ConnectionChanged, FileSynced, Notice, WatchStarted
from devenv.resources import platform_folder
from devenv.sync.ignore import Ignore
from devenv.sync.loop import SyncLoop
from devenv.sync.model import Batch, Capabilities, Entry, Listener, Root, Target, TargetLost
from devenv.sync.targets.agent import AgentOptions, AgentTarget, ClaimInUse, Owner
from devenv.sync.targets.child import ChildDuplex
from devenv.sync.targets.configmap import ConfigMapTarget
from devenv.sync.targets.folder import FolderTarget
from devenv.sync.watch import NativeWatcher
from tests.support.conformance import CASES, Case, Held, Place, World
from tests.support.sync import OWNER, RecordingTarget, Watching, project_at, tree

_program = platform_folder() / "components" / "configmap-dags" / "unpack_dags.py"
_specification = importlib.util.spec_from_file_location("unpack_dags", _program)
assert _specification is not None
assert _specification.loader is not None
unpack_dags = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(unpack_dags)


class Folder:
    """The folder target."""

    capabilities = Capabilities()

    def __init__(self, volume: Path) -> None:
        volume.mkdir(parents=True)
        self.volume = volume

    def open(self, listener: Listener) -> Target:
        return FolderTarget(self.volume, ["dags"], OWNER)

    def held(self) -> Held:
        return tree(self.volume)


class Agent(Folder):
    """The agent as a child process, without Airflow: it writes and does not parse."""

    def __init__(self, volume: Path) -> None:
        super().__init__(volume)
        self.pids: list[int] = []

    def open(self, listener: Listener, owner: Owner | None = None) -> Target:
        options = AgentOptions(claim=str(self.volume), airflow=str(self.volume), verdicts=False)
        return AgentTarget(self._start, listener, owner or Owner(**OWNER), ["dags"], options)

    def _start(self) -> ChildDuplex:
        child = ChildDuplex(agent_command(sys.executable))
        self.pids.append(child.pid)
        return child


class Recording:
    """The fake that the loop's tests use must itself be right."""

    def __init__(self, _volume: Path, capabilities: Capabilities | None = None) -> None:
        self.target = RecordingTarget(capabilities)
        self.capabilities = self.target.capabilities

    def open(self, listener: Listener) -> Target:
        return self.target.opened(listener)

    def held(self) -> Held:
        return {
            path: ("folder", False)
            if content is None
            else (hashlib.sha256(content).hexdigest(), path in self.target.executable)
            for path, content in self.target.held.items()
        }


class Limited(Recording):
    """A target that takes no folders and little in all: a case that asks for more must be refused before it is sent."""

    def __init__(self, volume: Path) -> None:
        no_folders = Capabilities(max_total_bytes=1 << 20, unfit=lambda entry: entry.path.count("/") > 1)
        super().__init__(volume, no_folders)


class _Objects:
    """As much of an API server and of a kubelet as a ConfigMap and a pod that mounts it need."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self.found: dict[str, dict[str, Any]] = {}
        self.versions = 0

    def get(self, _kind: str, name: str, _namespace: str | None = None) -> dict[str, Any] | None:
        return self.found.get(name)

    def list(self, _kind: str, _namespace: str | None = None) -> list[dict[str, Any]]:
        return []

    def apply(self, objects: list[dict[str, Any]], *, owner: str = "") -> None:
        for item in objects:
            content = {key: base64.b64decode(value) for key, value in item["binaryData"].items()}
            assert all(re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) and not key.startswith("..") for key in content)
            assert sum(map(len, content.values())) <= 1 << 20
            self.found[item["metadata"]["name"]] = item
            self.versions += 1
            version = self.mount / f"..2026_{self.versions}"
            version.mkdir(parents=True)
            for key, value in content.items():
                (version / key).write_bytes(value)
            (self.mount / "..new").symlink_to(version.name)
            (self.mount / "..new").rename(self.mount / "..data")

    def merge(self, *_: object) -> None:
        raise AssertionError("there is no pod")


class InConfigMap:
    """The ConfigMap target, and the program that unpacks it in Airflow's pods."""

    capabilities = ConfigMapTarget.capabilities

    def __init__(self, volume: Path) -> None:
        self.volume = volume
        self.objects = _Objects(volume / "source" / "dags")
        self.objects.mount.mkdir(parents=True)

    def open(self, listener: Listener) -> Target:
        return ConfigMapTarget(self.objects, "airflow", OWNER["environment"], ["dags"])

    def held(self) -> Held:
        unpack_dags.main(self.volume / "source", self.volume / "volume", follow=False)
        return tree(self.volume / "volume")


@pytest.fixture(params=[Folder, Agent, InConfigMap, Recording, Limited], ids=lambda kind: kind.__name__.lower())
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(project_at(tmp_path / "project"), request.param(tmp_path / "volume"), monkeypatch)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_conformance(case: Case, world: World) -> None:
    case(world)


@pytest.fixture(params=[Folder, Agent], ids=["folder", "agent"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return request.param(tmp_path / "volume")


def _signed(number: int) -> bytes:
    """A file that tells by itself whether it is whole."""
    body = random.Random(number).randbytes(40_000 + number)
    return hashlib.sha256(body).digest() + body


def test_a_reader_that_looks_all_the_time_never_sees_half_a_file(place: Folder, tmp_path: Path) -> None:
    """Saves that truncate and write, saves by rename, under the real watcher; the file is always there and whole."""
    project = project_at(tmp_path / "project")
    dag = project.dag_folder / "dag.py"
    dag.write_bytes(_signed(0))
    watcher = NativeWatcher([Root("dags", project.dag_folder)], Ignore())
    copy, looks, torn, done = place.volume / "dags" / "dag.py", [0], [], threading.Event()

    def look() -> None:
        while not done.is_set():
            content = copy.read_bytes()
            looks[0] += 1
            if content[:32] != hashlib.sha256(content[32:]).digest():
                torn.append(len(content))

    with Watching(project, place.open, watcher) as watch:
        watch.events.wait(WatchStarted)
        reader = threading.Thread(target=look)
        reader.start()
        for number in range(1, 60):
            if number % 2:
                dag.write_bytes(_signed(number))
            else:
                (project.dag_folder / "dag.py~").write_bytes(_signed(number))
                (project.dag_folder / "dag.py~").rename(dag)
            watch.events.wait(FileSynced, number + 1)
        done.set()
        reader.join()
    assert looks[0] > 60
    assert torn == []
    assert copy.read_bytes() == dag.read_bytes()


def test_the_agent_killed_again_and_again_while_files_change(tmp_path: Path) -> None:
    """After each kill: a new session, a full comparison, both sides the same, nothing half, nothing forgotten."""
    agent = Agent(tmp_path / "volume")
    project = project_at(tmp_path / "project")
    dags = project.dag_folder
    chance = random.Random(7)
    for number in range(300):
        (dags / f"f{number}.py").write_bytes(_signed(number))
    with Watching(project, agent.open) as watch:
        watch.events.wait(WatchStarted)
        for round_ in range(4):
            for _ in range(60):
                (dags / f"f{chance.randrange(300)}.py").write_bytes(_signed(chance.randrange(10_000)))
            (dags / f"f{round_}.py").rename(dags / f"moved{round_}.py")
            watch.watcher.notice(dags)
            time.sleep(chance.random() * 0.03)  # somewhere within the batch
            os.kill(agent.pids[-1], signal.SIGKILL)
            watch.events.wait(ConnectionChanged, 3 * (round_ + 1))
        _eventually(lambda: agent.held() == tree(project.folder))
        left = [path.name for path in (agent.volume / "dags").iterdir() if path.name.startswith(".devenv")]
        assert left == []
    states = [event.state for event in watch.events.of(ConnectionChanged)]
    assert states == ["lost", "reconnecting", "connected"] * 4


def test_a_session_that_goes_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop that slept: the stream stays open and says nothing more."""
    from devenv.sync.targets.agent import Deadlines

    agent = Agent(tmp_path / "volume")
    project = project_at(tmp_path / "project")

    def opened(listener: Listener) -> Target:
        options = AgentOptions(claim=str(agent.volume), airflow=str(agent.volume), verdicts=False)
        deadlines = Deadlines(silence=1.5, ping=0.3)
        return AgentTarget(agent._start, listener, Owner(**OWNER), ["dags"], options, deadlines=deadlines)

    with Watching(project, opened) as watch:
        watch.events.wait(WatchStarted)
        os.kill(agent.pids[0], signal.SIGSTOP)
        (project.dag_folder / "dag.py").write_text("saved while nobody listened")
        watch.watcher.notice()
        watch.events.wait(FileSynced)
        assert agent.held() == tree(project.folder)
    assert len(agent.pids) == 2
    assert [event.state for event in watch.events.of(ConnectionChanged)] == ["lost", "reconnecting", "connected"]


def test_a_volume_that_holds_something_else_than_was_acknowledged_is_noticed(tmp_path: Path) -> None:
    """The digest over all that the agent has on record is part of each answer."""
    agent = Agent(tmp_path / "volume")
    target = agent.open(_Deaf())
    try:
        target.manifest()
        target._root ^= 1  # one change more than the agent knows of
        with pytest.raises(TargetLost, match="holds something else"):
            target.apply(Batch(folders=(Entry("dags/team", "folder"),)))
    finally:
        target.close()


def test_a_version_that_the_kubelet_removes_while_it_is_read_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An init container that failed would end a task."""
    place = InConfigMap(tmp_path / "volume")
    project = project_at(tmp_path / "project")
    world = World(project, place, monkeypatch)
    world.write("team/dag.py", "first")
    world.once()
    original, removed = unpack_dags.unpack, []

    def unpack(version: Path, folder: Path) -> int:
        if not removed:
            removed.append(version)
            world.write("team/dag.py", "second")
            SyncLoop(project, place.open, world.events).once()
            shutil.rmtree(version)
        return original(version, folder)

    monkeypatch.setattr(unpack_dags, "unpack", unpack)
    assert place.held() == tree(project.folder)


def test_an_agent_that_cannot_start_is_told_in_its_own_words() -> None:
    words = "import sys; sys.exit('there is no Python 3 in this image')"

    def start() -> ChildDuplex:
        return ChildDuplex([sys.executable, "-c", words])

    with pytest.raises(TargetLost, match="there is no Python 3 in this image"):
        AgentTarget(start, _Deaf(), Owner(**OWNER), ["dags"], AgentOptions(claim="/nowhere", airflow="/nowhere"))


def test_another_laptop_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "volume")
    first = agent.open(_Deaf())
    try:
        with pytest.raises(ClaimInUse, match="ada@laptop"):
            agent.open(_Deaf(), Owner("other", "desktop", "grace", "/elsewhere"))
    finally:
        first.close()


def test_what_others_put_into_the_volume_stays(place: Folder, tmp_path: Path) -> None:
    project = project_at(tmp_path / "project")
    (place.volume / "dags").mkdir()
    (place.volume / "dags" / "foreign.py").write_text("of the sync-dags Job")
    (project.dag_folder / "mine.py").write_text("x")
    world = World(project, place, pytest.MonkeyPatch())
    world.once()
    (project.dag_folder / "mine.py").unlink()
    world.once()
    assert set(place.held()) == {"dags/foreign.py"}


def test_a_folder_that_others_made_takes_files_of_ours(place: Folder, tmp_path: Path) -> None:
    """What was acknowledged must agree with what the agent counts, or the loop connects again for ever."""
    project = project_at(tmp_path / "project")
    (place.volume / "dags/team/deep").mkdir(parents=True)
    (place.volume / "dags/team/out.csv").write_text("of a task")

    def until(holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < end, list(watch.events)
            time.sleep(0.02)

    with Watching(project, place.open) as watch:
        watch.events.wait(WatchStarted)
        for _ in range(2):  # the second time into a folder that stayed because of the task's file
            (project.dag_folder / "team/deep").mkdir(parents=True)
            (project.dag_folder / "team/deep/a.py").write_text("x")
            watch.watcher.notice(project.dag_folder / "team")
            until((place.volume / "dags/team/deep/a.py").exists)
            shutil.rmtree(project.dag_folder / "team")
            watch.watcher.notice(project.dag_folder / "team")
            until(lambda: not (place.volume / "dags/team/deep").exists())
        assert not watch.events.of(ConnectionChanged)
    assert set(place.held()) == {"dags/team", "dags/team/out.csv"}


def test_a_full_disk_keeps_the_version_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from devenv.agent import claim

    place = Folder(tmp_path / "volume")
    project = project_at(tmp_path / "project")
    dag = project.dag_folder / "dag.py"
    dag.write_text("first")
    original = os.write
    full = threading.Event()

    def write(descriptor: int, data: bytes) -> int:
        if full.is_set():
            raise OSError(28, "No space left on device")
        return original(descriptor, data)

    with Watching(project, place.open) as watch:
        watch.events.wait(WatchStarted)
        with monkeypatch.context() as patched:
            patched.setattr(claim.os, "write", write)
            full.set()
            dag.write_text("second")
            watch.watcher.notice(dag)
            [notice] = watch.events.wait(Notice)
            assert "no space left" in notice.message
            assert (place.volume / "dags" / "dag.py").read_text() == "first"
            full.clear()
            watch.events.wait(FileSynced, 2)  # tried again by itself
    assert (place.volume / "dags" / "dag.py").read_text() == "second"


class _Deaf:
    def verdict(self, verdict: object) -> None:
        pass

    def lost(self, reason: str) -> None:
        pass


def _eventually(check: Callable[[], bool], timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            if check():
                return
        except (OSError, TargetLost):
            pass
        time.sleep(0.05)
    assert check()
