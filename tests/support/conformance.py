"""What every target must do, as cases that are run against each of them.

A case edits the DAG folder and calls `world.sync()`, after which the target must hold exactly what the folder does.
What a case asks for beyond plain files is in its `needs`; where a target declares that it cannot do it, the case must
fail with `TargetCannot`, and nothing must have been sent.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest

from devenv.project import Project
from devenv.sync import scan
from devenv.sync.loop import Result, SyncLoop
from devenv.sync.model import Capabilities, Entry, Listener, Target
from devenv.sync.plan import TargetCannot

from .sync import Events, tree

Held = Mapping[str, tuple[str, bool]]


class Place(Protocol):
    """One target with its other side."""

    capabilities: Capabilities

    def open(self, listener: Listener) -> Target:
        """A session."""

    def held(self) -> Held:
        """What a reader beside Airflow finds: path → (digest or "folder", executable)."""


@dataclass
class World:
    """A DAG folder and the place that it is synced to."""

    project: Project
    place: Place
    monkeypatch: pytest.MonkeyPatch
    events: Events = field(default_factory=Events)
    before: Held = field(default_factory=dict)
    """What the place held when the latest sync began."""

    @property
    def dags(self) -> Path:
        """The DAG folder."""
        return self.project.dag_folder

    def write(self, name: str, content: bytes | str = "x", mode: int | None = None) -> Path:
        """Writes a file below the DAG folder."""
        path = self.dags / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if mode is not None:
            path.chmod(mode)
        return path

    def once(self) -> Result:
        """One sync, any question answered with yes."""
        self.before = dict(self.place.held())
        return SyncLoop(self.project, self.place.open, self.events, confirm_deletes=lambda _question: True).once()

    def sync(self, expected: Held | None = None) -> Result:
        """One sync, after which both sides must be the same."""
        result = self.once()
        assert result.in_step, result
        assert dict(self.place.held()) == dict(expected if expected is not None else tree(self.project.folder))
        return result


_NESTED = Entry("dags/folder/file.py")


@dataclass(frozen=True)
class Case:
    """One thing that a target must do, and what it takes: a file that is `large`, paths that are `nested`."""

    name: str
    run: Callable[[World], None]
    needs: frozenset[str]

    def fits(self, capabilities: Capabilities) -> bool:
        """Whether a target with these can do it."""
        too_large = "large" in self.needs and capabilities.max_total_bytes is not None
        too_deep = "nested" in self.needs and capabilities.unfit is not None and capabilities.unfit(_NESTED)
        return not too_large and not too_deep

    def __call__(self, world: World) -> None:
        """Runs the case, or makes sure that it is refused before anything is sent."""
        if self.fits(world.place.capabilities):
            self.run(world)
            return
        with pytest.raises(TargetCannot) as refused:
            self.run(world)
        assert refused.value.code == "DEVENV-520"
        assert dict(world.place.held()) == world.before


CASES: list[Case] = []


def case(*needs: str) -> Callable[[Callable[[World], None]], Callable[[World], None]]:
    def add(run: Callable[[World], None]) -> Callable[[World], None]:
        CASES.append(Case(run.__name__, run, frozenset(needs)))
        return run

    return add


@case("nested")
def empty_folders(world: World) -> None:
    (world.dags / "empty" / "inner").mkdir(parents=True)
    world.sync()
    (world.dags / "empty" / "inner").rmdir()
    world.sync()
    (world.dags / "empty").rmdir()
    world.sync()


@case("nested")
def nested_folders(world: World) -> None:
    world.write("a/b/c/d/dag.py")
    world.write("a/b/other.py")
    world.sync()
    (world.dags / "a" / "b").rename(world.dags / "b")
    (world.dags / "a").rmdir()
    world.sync()


@case()
def odd_names(world: World) -> None:
    for name in (
        "ünïcode_día.py",
        "日本語.py",
        "with space.py",
        "quo'te\"s.py",
        "$(touch x).py",
        "-rf",
        "a\nb.py",
        "%41.py",
    ):
        world.write(name, name)
    world.write("n" * 250 + ".py")
    world.sync()
    for path in world.dags.iterdir():
        path.unlink()
    world.sync()


@case()
def empty_file(world: World) -> None:
    os.utime(world.write("nothing.py", b""), (1, 1))
    world.sync()
    world.write("nothing.py", "something")
    world.sync()
    os.utime(world.write("nothing.py", b""), (1, 1))
    world.sync()


@case("large")
def fifty_megabytes(world: World) -> None:
    world.write("large.bin", random.Random(1).randbytes(50_000_000))
    world.sync()


@case()
def binary_content(world: World) -> None:
    world.write("all.bin", bytes(range(256)) * 40)
    world.write("newlines.txt", b"\r\n\r\n\x00\x1a\xff\xfe")
    world.sync()


@case()
def read_only_file(world: World) -> None:
    path = world.write("fixed.py", "1", 0o444)
    world.sync()
    path.chmod(0o644)
    world.write("fixed.py", "2", 0o444)
    world.sync()
    path.unlink()
    world.sync()


@case()
def executable_bit(world: World) -> None:
    path = world.write("run.sh", "echo", 0o755)
    world.sync()
    path.chmod(0o644)
    assert [change.change for change in world.sync().changes] == ["mode"]
    path.chmod(0o755)
    assert [change.change for change in world.sync().changes] == ["mode"]


@case("nested")
def file_becomes_folder_and_back(world: World) -> None:
    path = world.write("thing", "a file")
    world.write("other.py")
    world.sync()
    path.unlink()
    world.write("thing/inside/deep.py")
    world.sync()
    for inner in ("thing/inside/deep.py",):
        (world.dags / inner).unlink()
    (world.dags / "thing/inside").rmdir()
    path.rmdir()
    path.write_text("a file again")
    world.sync()


@case()
def rename_chain(world: World) -> None:
    for name in "abc":
        world.write(f"{name}.py", f"content of {name}")
    world.sync()
    (world.dags / "c.py").rename(world.dags / "d.py")
    (world.dags / "b.py").rename(world.dags / "c.py")
    (world.dags / "a.py").rename(world.dags / "b.py")
    world.sync()
    (world.dags / "b.py").rename(world.dags / "t.py")
    (world.dags / "c.py").rename(world.dags / "b.py")
    (world.dags / "t.py").rename(world.dags / "c.py")
    world.sync()


@case()
def change_of_case(world: World) -> None:
    world.write("etl.py", "1")
    world.sync()
    (world.dags / "etl.py").rename(world.dags / "ETL.py")
    world.sync()


@case()
def same_size_edit_in_the_same_second(world: World) -> None:
    path = world.write("dag.py", "version = 1")
    before = path.stat()
    world.sync()
    world.write("dag.py", "version = 2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    world.sync()


@case("nested")
def checkout_of_two_thousand_files(world: World) -> None:
    for number in range(2_000):
        world.write(f"team{number % 20}/dag_{number}.py", f"from airflow import DAG  # main {number}")
    assert len(world.sync().changes) == 2_000
    for number in range(0, 2_000, 4):
        (world.dags / f"team{number % 20}/dag_{number}.py").unlink()
        world.write(f"team{number % 20}/new_{number}.py", f"# branch {number}")
    for number in range(1, 2_000, 4):
        world.write(f"team{number % 20}/dag_{number}.py", f"# branch {number}")
    world.sync()


@case()
def delete_and_recreate(world: World) -> None:
    for round_ in range(3):
        for name in "abcd":
            world.write(f"{name}.py", f"{name}{round_}")
        world.sync()
        for name in "abc":
            (world.dags / f"{name}.py").unlink()
        world.sync()


@case("nested")
def links(world: World) -> None:
    world.write("lib/helper.py", "h")
    outside = world.project.folder / "secret.txt"
    outside.write_text("not for the cluster")
    (world.dags / "again").symlink_to("lib")
    (world.dags / "one.py").symlink_to("lib/helper.py")
    (world.dags / "secret.txt").symlink_to(outside)
    (world.dags / "folder").symlink_to("/etc")
    (world.dags / "nothing").symlink_to("nowhere")
    (world.dags / "itself").symlink_to("itself")
    (world.dags / "lib" / "loop").symlink_to("..")
    content = (hashlib.sha256(b"h").hexdigest(), False)
    world.sync(
        {
            "dags/lib": ("folder", False),
            "dags/lib/helper.py": content,
            "dags/again": ("folder", False),
            "dags/again/helper.py": content,
            "dags/one.py": content,
        }
    )


@case()
def sockets_and_pipes(world: World) -> None:
    world.write("dag.py")
    expected = tree(world.project.folder)
    os.mkfifo(world.dags / "pipe")
    world.monkeypatch.chdir(world.dags)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        world.sync(expected)


@case()
def growing_file(world: World) -> None:
    path = world.write("growing.log", "start\n")
    stop = threading.Event()
    world.monkeypatch.setattr(scan, "_WRITING_SECONDS", 0.1)  # it would be waited for, in vain

    def grow() -> None:
        with path.open("a") as stream:
            while not stop.wait(0.0005):
                stream.write("a line more\n")
                stream.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        world.once()
    finally:
        stop.set()
        writer.join()
    world.sync()


@case()
def unreadable_file(world: World) -> None:
    path = world.write("secret.py", "first")
    world.write("dag.py", "1")
    world.sync()
    expected = dict(world.place.held())
    original = os.open

    def refuse(name: object, *rest: object, **named: object) -> int:
        if str(name) == str(path):
            raise PermissionError(13, "Permission denied")
        return original(name, *rest, **named)  # type: ignore[arg-type]

    world.write("secret.py", "second")
    world.write("dag.py", "2")
    expected["dags/dag.py"] = (hashlib.sha256(b"2").hexdigest(), False)
    with world.monkeypatch.context() as patched:
        patched.setattr(scan.os, "open", refuse)
        assert not world.once().in_step
    assert dict(world.place.held()) == expected  # what was there before is kept
    world.sync()
