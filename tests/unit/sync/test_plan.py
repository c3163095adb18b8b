from __future__ import annotations

import pytest

from devenv.sync.model import Capabilities, Entry
from devenv.sync.plan import Change, TargetCannot, changes, plan, refuse_impossible


def file(path: str, content: str = "x", *, size: int = 1, executable: bool = False) -> Entry:
    return Entry(path, "file", content, size, executable)


def manifest(*entries: Entry) -> dict[str, Entry]:
    return {entry.path: entry for entry in entries}


def folder(path: str) -> Entry:
    return Entry(path, "folder")


def planned(local: dict, remote: dict, **options: object) -> list:
    batches = plan(local, remote, read=lambda _e: b"", is_dag_file=lambda path: "dag_" in path, **options)
    return [
        ([e.path for e in b.folders], [p.entry.path for p in b.puts], [e.path for e in b.modes], list(b.deletes))
        for b in batches
    ]


def test_folders_then_helpers_then_dag_files_then_deletes() -> None:
    local = manifest(folder("dags/new"), file("dags/dag_a.py"), file("dags/zeta.py"), file("dags/new/dag_b.py"))
    remote = manifest(folder("dags/old"), file("dags/old/dag_c.py"))
    assert planned(local, remote) == [
        (
            ["dags/new"],
            ["dags/zeta.py", "dags/dag_a.py", "dags/new/dag_b.py"],
            [],
            ["dags/old/dag_c.py", "dags/old"],
        )
    ]


def test_nothing_to_do_is_no_batch() -> None:
    there = manifest(folder("dags/a"), file("dags/a/b.py"))
    assert planned(there, there) == []


def test_only_the_mode_differs() -> None:
    assert planned(manifest(file("dags/a", executable=True)), manifest(file("dags/a"))) == [([], [], ["dags/a"], [])]


def test_what_is_in_the_way_goes_first() -> None:
    a_file, a_folder = manifest(file("dags/x")), manifest(folder("dags/x"), file("dags/x/y.py"))
    assert planned(a_folder, a_file) == [([], [], [], ["dags/x"]), (["dags/x"], ["dags/x/y.py"], [], [])]
    assert planned(a_file, a_folder) == [([], [], [], ["dags/x/y.py", "dags/x"]), ([], ["dags/x"], [], [])]


def test_a_change_of_case() -> None:
    local, remote = manifest(file("dags/A.py")), manifest(file("dags/a.py"))
    assert planned(local, remote) == [([], ["dags/A.py"], [], ["dags/a.py"])]
    assert planned(local, remote, case_sensitive=False) == [([], [], [], ["dags/a.py"]), ([], ["dags/A.py"], [], [])]


def test_renames_are_told_as_such() -> None:
    local = manifest(
        file("dags/b.py", "1"), file("dags/c.py", "2"), file("dags/lib/d.py", "3"), file("dags/e.py", "new")
    )
    remote = manifest(file("dags/a.py", "1"), file("dags/b.py", "2"), file("dags/d.py", "3"))
    assert changes(local, remote) == [
        Change("dags/b.py", "changed", 1),
        Change("dags/c.py", "added", 1),
        Change("dags/e.py", "added", 1),
        Change("dags/lib/d.py", "renamed", 1, "dags/d.py"),
        Change("dags/a.py", "deleted", 1),
    ]


def test_empty_files_are_never_renames() -> None:
    local, remote = manifest(file("dags/a/__init__.py", size=0)), manifest(file("dags/b/__init__.py", size=0))
    assert [change.change for change in changes(local, remote)] == ["added", "deleted"]


@pytest.mark.parametrize(
    ("limit", "entry", "words"),
    [
        (
            Capabilities(unfit=lambda entry: " " in entry.path, unfit_reason="no spaces"),
            file("dags/a b.py"),
            "no spaces: dags/a b.py",
        ),
        (
            Capabilities(max_object_bytes=1_000, overhead=lambda entry: len(entry.path) * 100),
            file("dags/a.py", size=200),
            "too many files: the names of 1 take 900 bytes, with their content 1.1 KiB, 100 bytes too much",
        ),
        (
            Capabilities(max_total_bytes=1 << 20),
            file("dags/big.csv", size=3 << 19),
            "at most 1.00 MiB in all: it is 1.50 MiB, 512.0 KiB too much. The heaviest: dags/big.csv (1.50 MiB)",
        ),
    ],
)
def test_what_a_target_cannot_hold_is_named(limit: Capabilities, entry: Entry, words: str) -> None:
    refuse_impossible(manifest(entry), Capabilities(), "target")
    with pytest.raises(TargetCannot) as refused:
        refuse_impossible(manifest(entry), limit, "target")
    assert words in refused.value.message
