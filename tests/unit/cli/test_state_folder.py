"""`.devenv/` is used only if devenv made it; one that came with a repository is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from devenv import state_folder
from devenv.errors import ExitCode
from devenv.state_folder import StateFolderForeign, make, require_ours


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_one_that_devenv_made_is_its_own_and_private(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / ".devenv"
    require_ours(folder, data)  # none is in order
    make(folder, data)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    make(folder, data)
    assert folder.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(folder)
    make(folder, data)
    require_ours(folder, data)


def test_one_that_came_along_is_refused(tmp_path: Path, data: Path) -> None:
    folder = tmp_path / ".devenv"
    folder.mkdir(mode=0o700)
    with pytest.raises(StateFolderForeign, match="was not made by devenv here"):
        make(folder, data)
    other = tmp_path / "elsewhere"
    other.mkdir()
    make(other / ".devenv", tmp_path / "data-of-another")
    shutil.copytree(other / ".devenv", folder, dirs_exist_ok=True)
    with pytest.raises(StateFolderForeign, match="was not made by devenv here"):
        require_ours(folder, data)


def test_a_link_or_a_file_in_its_place_is_refused(tmp_path: Path, data: Path) -> None:
    folder, target = tmp_path / ".devenv", tmp_path / "target"
    make(target, data)
    folder.symlink_to(target)
    with pytest.raises(StateFolderForeign, match="is not a folder"):
        require_ours(folder, data)
    folder.unlink()
    folder.write_text("")
    with pytest.raises(StateFolderForeign, match="is not a folder"):
        require_ours(folder, data)


@pytest.mark.parametrize("name", ["logs", "watch.lock", "overlay/minikube", "etc/airflow", "claim"])
def test_a_link_in_it_is_refused(tmp_path: Path, data: Path, name: str) -> None:
    folder, outside = tmp_path / ".devenv", tmp_path / "outside"
    outside.mkdir()
    make(folder, data)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).symlink_to(outside)
    with pytest.raises(StateFolderForeign, match=f"holds a link, {name}"):
        require_ours(folder, data)


def test_one_of_another_user_is_refused(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / ".devenv", data)
    monkeypatch.setattr(state_folder.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StateFolderForeign, match="belongs to another user"):
        require_ours(folder, data)


@pytest.mark.parametrize("command", [["status"], ["watch"], ["sync"], ["destroy", "--yes"], ["up", "--detach"]])
def test_no_command_follows_a_link_out_of_the_project(devenv, project_folder: Path, command: list[str]) -> None:
    outside = project_folder.parent / "precious"
    outside.mkdir()
    (outside / "file").write_text("kept")
    state = project_folder / ".devenv"
    state.mkdir(mode=0o700)
    for name in ("logs", "claim", "overlay", "etc", "watch.lock", "watch.jsonl", "kubeconfig", "state.json"):
        (state / name).symlink_to(outside)
    result = devenv(*command, "--backend", "local") if command[0] == "up" else devenv(*command)
    assert result.exit_code == ExitCode.REFUSED
    assert "was not made by devenv here" in result.stderr
    assert f"rm -r {state}" in result.stderr
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "kept"
