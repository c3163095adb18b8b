from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from devenv.cli import cache


def fill(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    for name in ("airflow/2.7.2-3.11-base", "airflow/3.3.2-3.12-base", "programs/postgres-18", "check"):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_bytes(b"x" * 2048)
    (folder / "airflow-releases.json").write_text("{}")
    return folder


def test_what_is_there_and_its_size(devenv, tmp_path: Path) -> None:
    folder = fill(tmp_path)
    lines = [json.loads(line) for line in devenv("cache", "-o", "json").stdout.splitlines()]
    assert [(line["data"]["name"], line["data"]["bytes"], line["data"]["in_use"]) for line in lines] == [
        ("airflow/2.7.2-3.11-base", 2048, False),
        ("airflow/3.3.2-3.12-base", 2048, False),
        ("check", 2048, False),
        ("programs/postgres-18", 2048, False),
    ]
    assert folder.is_dir()


def test_what_runs_or_is_being_made_stays(devenv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path)
    monkeypatch.setattr(cache, "_used", lambda _folder: {folder / "airflow/2.7.2-3.11-base/bin/python"})
    with (folder / "programs/postgres-18.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert devenv("cache", "--clean").exit_code == 2  # nobody is there to ask
        assert devenv("cache", "--clean", "--yes").exit_code == 0
    left = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("file"))
    assert left == ["airflow/2.7.2-3.11-base/file", "programs/postgres-18/file"]
    assert (folder / "airflow-releases.json").exists()
