from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devenv.agent.claim import Claim
from devenv.agent.ledger import JOURNAL, SNAPSHOT
from devenv.agent.refusal import Refused

OWNER = {"environment": "shop", "host": "laptop", "user": "ann", "folder": "/shop"}


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[Claim]:
    made = Claim(str(tmp_path), ["dags", "plugins"], OWNER)
    yield made
    made.close()


def put(claim: Claim, path: str, content: bytes = b"x = 1\n", *, executable: bool = False) -> None:
    writing = claim.put(path, hashlib.sha256(content).hexdigest(), executable=executable)
    writing.write(content)
    writing.finish()


def reopened(folder: Path) -> Claim:
    return Claim(str(folder), ["dags", "plugins"], OWNER)


def test_a_file_appears_whole_with_its_mode(claim: Claim, tmp_path: Path) -> None:
    writing = claim.put("dags/a/b.py", hashlib.sha256(b"12").hexdigest(), executable=True)
    writing.write(b"1")
    assert not (tmp_path / "dags/a/b.py").exists()
    assert all(path.name.startswith(".") and path.suffix != ".py" for path in (tmp_path / "dags/a").iterdir())
    writing.write(b"2")
    writing.finish()
    assert (tmp_path / "dags/a/b.py").read_bytes() == b"12"
    assert os.access(tmp_path / "dags/a/b.py", os.X_OK)
    assert [path.name for path in (tmp_path / "dags/a").iterdir()] == ["b.py"]


def test_a_wrong_digest_leaves_the_old_version(claim: Claim, tmp_path: Path) -> None:
    put(claim, "dags/a.py", b"old")
    writing = claim.put("dags/a.py", hashlib.sha256(b"promised").hexdigest(), executable=False)
    writing.write(b"other")
    with pytest.raises(Refused) as refused:
        writing.finish()
    assert refused.value.reason == "changed"
    assert (tmp_path / "dags/a.py").read_bytes() == b"old"
    assert len(list((tmp_path / "dags").iterdir())) == 1


@pytest.mark.parametrize("path", ["/etc/x", "dags/../x", "dags", "other/x", ".devenv/x", "dags/a\0b", "", "dags//x"])
def test_unsafe_paths_are_refused(claim: Claim, path: str) -> None:
    for change in (lambda: put(claim, path), lambda: claim.delete(path), lambda: claim.make_folder(path)):
        with pytest.raises(Refused) as refused:
            change()
        assert refused.value.reason == "unsafe"


def test_links_are_not_followed(claim: Claim, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.py").write_text("kept")
    (tmp_path / "dags/link").symlink_to(outside)
    (tmp_path / "dags/file.py").symlink_to(outside / "kept.py")
    for change in (lambda: put(claim, "dags/link/x.py"), lambda: claim.make_folder("dags/link")):
        with pytest.raises(Refused) as refused:
            change()
        assert refused.value.reason == "unsafe"
    put(claim, "dags/file.py", b"new")  # the link itself gives way
    assert (outside / "kept.py").read_text() == "kept"
    assert [path.name for path in outside.iterdir()] == ["kept.py"]
    assert not claim.touch("dags/link/kept.py")


def test_only_what_is_ours_is_deleted(claim: Claim, tmp_path: Path) -> None:
    (tmp_path / "dags/foreign.py").write_text("x")
    with pytest.raises(Refused):
        claim.delete("dags/foreign.py")
    put(claim, "dags/a/own.py")
    (tmp_path / "dags/a/foreign.py").write_text("x")
    claim.delete("dags/a/own.py")
    claim.delete("dags/a")
    claim.delete("dags/never-there.py")
    assert (tmp_path / "dags/a/foreign.py").exists()
    assert "dags/a" not in claim.ledger


def test_a_folder_becomes_a_file_and_back(claim: Claim, tmp_path: Path) -> None:
    put(claim, "dags/a/deep/x.py")
    put(claim, "dags/a", b"file")
    assert (tmp_path / "dags/a").read_bytes() == b"file"
    claim.delete("dags/a/deep/x.py")  # as a batch does after its puts
    put(claim, "dags/a/y.py")
    assert (tmp_path / "dags/a/y.py").exists()
    (tmp_path / "dags/a/foreign.py").write_text("x")
    with pytest.raises(Refused):
        put(claim, "dags/a", b"file")
    assert (tmp_path / "dags/a/y.py").exists()


def test_time_never_goes_back(claim: Claim, tmp_path: Path) -> None:
    put(claim, "dags/a.py")
    ahead = (tmp_path / "dags/a.py").stat().st_mtime_ns + 3_600_000_000_000
    os.utime(tmp_path / "dags/a.py", ns=(ahead, ahead))
    put(claim, "dags/a.py", b"y = 2\n")
    first = (tmp_path / "dags/a.py").stat().st_mtime_ns
    assert first > ahead
    assert claim.touch("dags/a.py")
    assert (tmp_path / "dags/a.py").stat().st_mtime_ns > first


def test_bytecode_of_a_gone_module_goes_too(claim: Claim, tmp_path: Path) -> None:
    put(claim, "dags/a/helper.py")
    cache = tmp_path / "dags/a/__pycache__"
    cache.mkdir()
    (cache / "helper.cpython-311.pyc").write_bytes(b"old")
    put(claim, "dags/a/helper.py", b"x = 2\n")
    assert not list(cache.iterdir())
    (cache / "helper.cpython-311.pyc").write_bytes(b"old")
    claim.delete("dags/a/helper.py")
    claim.delete("dags/a")
    assert not (tmp_path / "dags/a").exists()


def test_the_ledger_survives_a_kill_and_is_compared_with_the_disk(tmp_path: Path) -> None:
    first = reopened(tmp_path)
    for name in ("kept", "edited", "gone"):
        put(first, f"dags/{name}.py", name.encode())
    first.settle()
    first._lock.close()  # as the kernel does for a killed process; neither snapshot nor descriptor is closed in order
    with (tmp_path / ".devenv" / JOURNAL).open("a") as journal:
        journal.write('\n["dags/half.py", ["fi')
    (tmp_path / "dags/edited.py").write_bytes(b"by somebody else")
    (tmp_path / "dags/gone.py").unlink()
    (tmp_path / "dags/.devenv-0123456789ab.tmp").write_bytes(b"half")
    second = reopened(tmp_path)
    assert sorted(second.ledger.paths()) == ["dags/edited.py", "dags/kept.py"]
    held = second.ledger.get("dags/edited.py")
    assert held is not None
    assert held.digest == hashlib.sha256(b"by somebody else").hexdigest()
    assert not (tmp_path / "dags/.devenv-0123456789ab.tmp").exists()
    root = second.ledger.root_digest
    second.close()
    third = reopened(tmp_path)
    assert third.ledger.root_digest == root != 0
    third.close()


@pytest.mark.parametrize(
    "broken", [b"", b"[]", b'{"dags/a.py": ["file"]}', b'{"../x": ["file","",0,false,0,0]}', b"\xff"]
)
def test_a_broken_snapshot_owns_nothing(tmp_path: Path, broken: bytes) -> None:
    (tmp_path / ".devenv").mkdir()
    (tmp_path / ".devenv" / SNAPSHOT).write_bytes(broken)
    claim = reopened(tmp_path)
    assert len(claim.ledger) == 0
    claim.close()


def test_a_full_disk_leaves_the_old_version(claim: Claim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(claim, "dags/a.py", b"old")
    write = os.write

    def full(file: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writing = claim.put("dags/a.py", hashlib.sha256(b"new").hexdigest(), executable=False)
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Refused) as refused:
        writing.write(b"new")
    monkeypatch.setattr(os, "write", write)
    assert refused.value.reason == "space"
    assert (tmp_path / "dags/a.py").read_bytes() == b"old"
    assert [path.name for path in (tmp_path / "dags").iterdir()] == ["a.py"]


def test_a_second_owner_is_told_who_is_first(claim: Claim, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"environment shop \(ann@laptop, folder /shop\)") as refused:
        Claim(str(tmp_path), ["dags"], {**OWNER, "host": "other"})
    assert refused.value.reason == "owner"


def test_a_claim_that_another_environment_filled(tmp_path: Path) -> None:
    reopened(tmp_path).close()
    other = {**OWNER, "environment": "bakery"}
    with pytest.raises(Refused, match="was filled by environment shop"):
        Claim(str(tmp_path), ["dags"], other)
    Claim(str(tmp_path), ["dags"], other, take_over=True).close()


def test_the_job_is_not_disturbed(tmp_path: Path) -> None:
    import fcntl

    (tmp_path / ".devenv").mkdir()
    with (tmp_path / ".devenv/job.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Refused) as refused:
            reopened(tmp_path)
        assert refused.value.reason == "job"
    reopened(tmp_path).close()
