"""What is written for each editor, and what is never touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devenv.editors.attach import Attachment, LaunchFileUnreadable, prepare


def attachment(project: Path) -> Attachment:
    return Attachment(5678, project, {project / "dags": "/opt/airflow/dags", Path("/srv/lib"): "/opt/airflow/lib"})


@pytest.mark.parametrize("editor", ["vscode", "nvim"])
def test_the_launch_file_of_vs_code_maps_each_folder(tmp_path: Path, editor: str) -> None:
    said = prepare(editor, attachment(tmp_path))  # type: ignore[arg-type]
    assert ".vscode/launch.json" in said
    (configuration,) = json.loads((tmp_path / ".vscode/launch.json").read_text())["configurations"]
    assert configuration["connect"] == {"host": "127.0.0.1", "port": 5678}
    assert configuration["pathMappings"] == [
        {"localRoot": "${workspaceFolder}/dags", "remoteRoot": "/opt/airflow/dags"},
        {"localRoot": "/srv/lib", "remoteRoot": "/opt/airflow/lib"},
    ]


def test_zed_has_its_own_file_and_word_for_the_project(tmp_path: Path) -> None:
    prepare("zed", attachment(tmp_path))
    (configuration,) = json.loads((tmp_path / ".zed/debug.json").read_text())
    assert configuration["pathMappings"][0]["localRoot"] == "$ZED_WORKTREE_ROOT/dags"


def test_pycharm_is_told_what_to_enter_and_gets_no_file(tmp_path: Path) -> None:
    assert "127.0.0.1:5678" in prepare("pycharm", attachment(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_added_to_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / ".vscode" / "launch.json"
    file.parent.mkdir()
    file.write_text("{ not json")
    with pytest.raises(LaunchFileUnreadable) as caught:
        prepare("vscode", attachment(tmp_path))
    assert file.read_text() == "{ not json"
    assert '"port": 5678' in (caught.value.detail or "")


def test_a_linked_launch_file_is_followed(tmp_path: Path) -> None:
    kept = tmp_path / "dotfiles.json"
    kept.write_text('{"configurations": []}')
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode" / "launch.json").symlink_to(kept)
    prepare("vscode", attachment(tmp_path))
    assert (tmp_path / ".vscode" / "launch.json").is_symlink()
    assert "devenv debug" in kept.read_text()
