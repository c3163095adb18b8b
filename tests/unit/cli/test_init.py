from __future__ import annotations

from pathlib import Path

from devenv.errors import ExitCode


def test_init_makes_a_project_and_never_overwrites(devenv, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / ".gitignore").write_text("*.pyc")
    result = devenv("init", cwd=folder)
    made = ["devenv.toml", ".gitignore", "dags/taskflow_example.py", "tests/test_dags.py"]
    assert result.stdout.splitlines() == [f"made {name}" for name in made]
    assert (folder / ".gitignore").read_text() == "*.pyc\n.devenv/\n"
    (folder / "devenv.toml").write_text('name = "mine"\n')
    again = devenv("init", cwd=folder)
    assert again.stdout == ""
    assert (folder / "devenv.toml").read_text() == 'name = "mine"\n'
    assert 'name     "mine"  devenv.toml:1' in devenv("config", "--given", cwd=folder).stdout


def test_init_leaves_dags_that_are_there_alone(devenv, project_folder: Path) -> None:
    (project_folder / "dags" / "mine.py").touch()
    devenv("init")
    assert [file.name for file in (project_folder / "dags").iterdir()] == ["mine.py"]
    assert not (project_folder / "tests").exists()


def test_init_in_a_folder_that_is_not_there(devenv, tmp_path: Path) -> None:
    result = devenv("init", "--project", str(tmp_path / "nowhere"))
    assert result.exit_code == ExitCode.USAGE
    assert f"there is no folder {tmp_path}/nowhere" in result.stderr
