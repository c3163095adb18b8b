from __future__ import annotations

import hashlib
import os
import socket
import sys
from pathlib import Path

import pytest

from devenv.sync import scan as scan_module
from devenv.sync.ignore import Ignore
from devenv.sync.model import Root
from devenv.sync.scan import Scanner


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    folder = tmp_path / "dags"
    folder.mkdir()
    return folder


def scanner(dags: Path, *ignored: str) -> Scanner:
    return Scanner([Root("dags", dags)], Ignore(ignored))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_files_and_folders_with_their_traits(dags: Path) -> None:
    (dags / "team" / "empty").mkdir(parents=True)
    (dags / "team" / "ünï code.py").write_bytes(b"from airflow import DAG  # a dag")
    (dags / "run.sh").write_bytes(b"echo")
    (dags / "run.sh").chmod(0o755)
    (dags / "nothing.py").touch()
    os.utime(dags / "nothing.py", (1, 1))
    reader = scanner(dags)
    entries = reader.scan().entries
    assert {path: (e.kind, e.digest, e.size, e.executable) for path, e in entries.items()} == {
        "dags/team": ("folder", "", 0, False),
        "dags/team/empty": ("folder", "", 0, False),
        "dags/team/ünï code.py": ("file", digest(b"from airflow import DAG  # a dag"), 32, False),
        "dags/run.sh": ("file", digest(b"echo"), 4, True),
        "dags/nothing.py": ("file", digest(b""), 0, False),
    }
    assert reader.is_dag_file("dags/team/ünï code.py")
    assert not reader.is_dag_file("dags/run.sh")


def test_left_out_and_sent_although_hidden(dags: Path) -> None:
    for name in ("a.pyc", ".x.py.swp", "4913", "a.py~", ".#a.py", "#a.py#", "a.py___jb_tmp___", ".DS_Store"):
        (dags / name).write_text("x")
    for folder in ("__pycache__", ".git", ".idea", "scratch"):
        (dags / folder).mkdir()
        (dags / folder / "inside.py").write_text("x")
    (dags / ".airflowignore").write_text("x")
    (dags / "keep.py").write_text("x")
    assert set(scanner(dags, "scratch/").scan().entries) == {"dags/.airflowignore", "dags/keep.py"}
    assert "dags/.idea/inside.py" in scanner(dags, "!.idea/").scan().entries


def test_a_virtual_environment_is_left_out_and_named(dags: Path) -> None:
    (dags / "tools" / "lib").mkdir(parents=True)
    (dags / "tools" / "lib" / "x.py").write_text("x")
    reader = scanner(dags)
    assert "dags/tools/lib/x.py" in reader.scan().entries
    (dags / "tools" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    found = reader.scan()
    assert not found.entries
    assert found.skipped == {"dags/tools": "a virtual environment (pyvenv.cfg)"}
    assert reader.scan([dags / "tools" / "lib" / "x.py"]).skipped == found.skipped


def test_a_hint_leads_to_changes_deletes_and_whole_new_folders(dags: Path) -> None:
    (dags / "a").mkdir()
    (dags / "a" / "one.py").write_text("1")
    (dags / "a" / "two.py").write_text("2")
    reader = scanner(dags)
    reader.scan()
    (dags / "a" / "one.py").write_text("1!")
    (dags / "a" / "two.py").unlink()
    (dags / "new" / "deep").mkdir(parents=True)
    (dags / "new" / "deep" / "three.py").write_text("3")
    entries = reader.scan([dags / "a" / "one.py", dags / "new" / "deep" / "three.py"]).entries
    assert {path for path, e in entries.items() if e.kind == "file"} == {"dags/a/one.py", "dags/new/deep/three.py"}
    assert entries["dags/a/one.py"].digest == digest(b"1!")
    assert dict(reader.scan().entries) == dict(entries)


def test_a_hint_does_not_read_what_it_does_not_concern(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (dags / f"f{number}.py").write_text("x")
        os.utime(dags / f"f{number}.py", (1, 1))
    reader = scanner(dags)
    later = scan_module.time.time() + 10
    reader._now = lambda: later  # so that nothing is racily clean
    reader.scan()
    read: list[str] = []
    hashed = reader._hash
    monkeypatch.setattr(reader, "_hash", lambda path, place: (read.append(path), hashed(path, place))[1])
    reader.scan([dags / "f7.py"])
    reader.scan()
    assert read == ["dags/f7.py"]


def test_same_size_edit_within_the_clock_tick_is_seen(dags: Path) -> None:
    file = dags / "dag.py"
    file.write_text("a = 1")
    before = file.stat()
    reader = scanner(dags)
    reader.scan()
    file.write_text("a = 2")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reader.scan().entries["dags/dag.py"].digest == digest(b"a = 2")


def test_file_becomes_folder_and_back(dags: Path) -> None:
    reader = scanner(dags)
    (dags / "x").write_text("file")
    assert reader.scan().entries["dags/x"].kind == "file"
    (dags / "x").unlink()
    (dags / "x").mkdir()
    (dags / "x" / "y.py").write_text("1")
    entries = reader.scan([dags / "x"]).entries
    assert entries["dags/x"].kind == "folder"
    assert "dags/x/y.py" in entries
    (dags / "x" / "y.py").unlink()
    (dags / "x").rmdir()
    (dags / "x").write_text("file")
    entries = reader.scan([dags / "x"]).entries
    assert set(entries) == {"dags/x"}
    assert entries["dags/x"].kind == "file"


def test_links_inside_are_followed_and_all_others_are_named(dags: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("outside")
    (dags / "lib").mkdir()
    (dags / "lib" / "helper.py").write_text("h")
    (dags / "again").symlink_to("lib")
    (dags / "one.py").symlink_to("lib/helper.py")
    (dags / "secret.txt").symlink_to(tmp_path / "secret.txt")
    (dags / "nothing").symlink_to("nowhere")
    (dags / "self").symlink_to("self")
    (dags / "lib" / "up").symlink_to("..")
    reader = scanner(dags)
    found = reader.scan()
    files = {path for path, e in found.entries.items() if e.kind == "file"}
    assert files == {"dags/lib/helper.py", "dags/again/helper.py", "dags/one.py"}
    assert found.skipped == {
        "dags/secret.txt": "a link that leaves the synced folder",
        "dags/nothing": "a link to nothing",
        "dags/self": "a link that leads to itself",
        "dags/lib/up": "a link to a folder that contains it",
        "dags/again/up": "a link to a folder that contains it",
    }
    (dags / "lib" / "helper.py").write_text("changed")
    entries = reader.scan([dags / "lib" / "helper.py"]).entries
    assert entries["dags/one.py"].digest == entries["dags/again/helper.py"].digest == digest(b"changed")
    assert reader.read(entries["dags/again/helper.py"]) == b"changed"


def test_what_is_no_file_is_skipped_with_a_reason(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(dags / "pipe")
    monkeypatch.chdir(dags)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        (Path(os.fsdecode(os.fsencode(str(dags)) + b"/bad\xff.py"))).write_text("x")
        found = scanner(dags).scan()
    assert not found.entries
    assert sorted(found.skipped.values()) == [
        "a pipe, not a file",
        "a socket, not a file",
        "its name is not valid UTF-8",
    ]


def test_data_that_would_not_fit_into_memory_is_left_out_and_named(dags: Path) -> None:
    (dags / "dag.py").write_text("x")
    with (dags / "data.parquet").open("wb") as stream:
        stream.truncate(scan_module.SIZE_LIMIT + 1)
    seen = scanner(dags).scan()
    assert set(seen.entries) == {"dags/dag.py"}
    assert seen.skipped == {"dags/data.parquet": "larger than 1 GiB; a DAG folder is no place for data"}


def test_an_unreadable_file_is_unknown_not_gone(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (dags / "dag.py").write_text("x")
    reader = scanner(dags)
    original = os.open

    def refuse(path: str, *rest: object, **named: object) -> int:
        if str(path).endswith("dag.py"):
            raise PermissionError(13, "Permission denied")
        return original(path, *rest, **named)

    monkeypatch.setattr(scan_module.os, "open", refuse)
    found = reader.scan()
    assert found.unknown == {"dags/dag.py"}
    assert found.skipped == {"dags/dag.py": "cannot be read: permission denied"}
    assert not found.unsettled


def test_a_file_that_grows_while_it_is_read_is_unsettled(dags: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = dags / "growing.log"
    file.write_bytes(b"x" * 100)
    original = os.read
    growing = True

    def grow(descriptor: int, count: int) -> bytes:
        content = original(descriptor, count)
        if growing and content:
            with file.open("ab") as stream:
                stream.write(b"more")
        return content

    monkeypatch.setattr(scan_module.os, "read", grow)
    reader = scanner(dags)
    assert reader.scan().unsettled == {"dags/growing.log"}
    growing = False
    settled = reader.scan()
    assert not settled.unknown
    assert settled.entries["dags/growing.log"].size == file.stat().st_size


def test_a_file_truncated_just_now_is_waited_for(dags: Path) -> None:
    file = dags / "dag.py"
    file.touch()
    reader = scanner(dags)
    assert reader.scan().unsettled == {"dags/dag.py"}
    os.utime(file, (1, 1))
    assert reader.scan().entries["dags/dag.py"].size == 0


def test_a_file_emptied_between_the_listing_and_the_reading_is_waited_for(
    dags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor's truncation that falls into the scan: half a save, which the listing does not show."""
    dag = dags / "dag.py"
    dag.write_text("first")
    reader = scanner(dags)
    reader.scan()
    dag.write_text("second")
    original = os.open

    def truncated(name: object, *rest: object, **named: object) -> int:
        os.truncate(dag, 0)
        return original(name, *rest, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(scan_module.os, "open", truncated)
        seen = reader.scan()
    assert seen.unsettled == {"dags/dag.py"}
    assert seen.entries["dags/dag.py"].digest == digest(b"first")
    dag.write_text("second")
    assert reader.scan().entries["dags/dag.py"].digest == digest(b"second")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no other system tells")
def test_a_file_that_is_being_written_is_waited_for_but_not_for_ever(
    dags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow download: nothing happens to it for a while, and it is not whole."""
    file = dags / "table.csv"
    reader = scanner(dags)
    with file.open("w") as download:
        download.write("half of ")
        download.flush()
        assert reader.scan().unsettled == {"dags/table.csv"}
        assert reader.scan([file]).unsettled == {"dags/table.csv"}
        download.write("it")
    assert reader.scan().entries["dags/table.csv"].digest == digest(b"half of it")
    monkeypatch.setattr(scan_module, "_WRITING_SECONDS", 0.0)
    with file.open("a") as log:
        log.write("and a line more, every now and then")
        log.flush()
        assert reader.scan().entries["dags/table.csv"].size == file.stat().st_size


def test_a_link_whose_target_cannot_be_looked_at_is_unknown_not_gone(
    dags: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dags / "lib").mkdir()
    (dags / "lib" / "helper.py").write_text("x")
    (dags / "again").symlink_to("lib")
    reader = scanner(dags)
    assert "dags/again/helper.py" in reader.scan().entries
    original = os.stat

    def refuse(name: object, *rest: object, **named: object) -> os.stat_result:
        if str(name).endswith("/again"):
            raise PermissionError(13, "Permission denied")
        return original(name, *rest, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(scan_module.os, "stat", refuse)
        seen = reader.scan()
    assert seen.unknown == {"dags/again"}
    assert seen.skipped["dags/again"] == "cannot be read: permission denied"


def test_a_root_that_vanishes_and_comes_back(dags: Path) -> None:
    (dags / "dag.py").write_text("x")
    reader = scanner(dags)
    before = reader.scan()
    dags.rename(dags.with_name("elsewhere"))
    gone = reader.scan([dags / "dag.py"])
    assert not gone.entries
    assert not gone.roots
    dags.with_name("elsewhere").rename(dags)
    assert reader.scan().roots == before.roots
