"""The tutorial, followed to the letter on the local backend."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.support.program import Program

from .conftest import cache_folder

pytestmark = [pytest.mark.local, pytest.mark.timeout(600)]

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial.md"
ANSWERS = {
    "secrets set variable region": "eu\n",
    "secrets set connection warehouse": "postgresql://ada:secret@db.example.com/shop\n",
}
"""What a person types where a command asks."""
ON_THE_LOCAL_BACKEND = ["--backend", "local", "--port", "18086", "--detach"]
NOT_OF_A_PROJECT = ("git ", "uv ", "cd ", "devenv completion")
IN_AN_EDITOR = "devenv debug"


def commands() -> list[list[str]]:
    """The tutorial's commands in a project, without those that go on until somebody ends them."""
    blocks = re.findall(r"```console\n(.*?)```", TUTORIAL.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    chosen = [line for line in lines if not line.startswith((*NOT_OF_A_PROJECT, IN_AN_EDITOR))]
    return [[word for word in shlex.split(line, comments=True)[1:] if word != "--watch"] for line in chosen]


def test_each_command_does_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    variables = {"DEVENV_DATA": str(tmp_path / "data"), "DEVENV_CACHE": str(cache_folder())}
    program = Program((sys.executable, "-m", "devenv"), tmp_path / "shop", variables)
    dag = program.folder / "dags" / "taskflow_example.py"
    followed = commands()
    assert [command[0] for command in followed][:2] == ["init", "up"]
    try:
        for command in followed:
            if command == ["rerun"]:  # "When one fails, repair the file, and"
                text = dag.read_text()
                dag.write_text(
                    text.replace("def load(", "def load(*_, **__):\n        raise ValueError\n\n    def unused(")
                )
                program.run("run", "taskflow_example", "--wait", code=1)
                dag.write_text(text)
                program.run("sync")
            more = ON_THE_LOCAL_BACKEND if command == ["up"] else ["--yes"] if command == ["destroy"] else []
            program.run(*command, *more, stdin=ANSWERS.get(" ".join(command), ""))
            if command == ["up"]:
                program.run("sync")  # as the watch does
        assert list((tmp_path / "data").rglob("seeds.json"))  # the secrets that were set stay, until
        program.run("destroy", "--yes", "--purge")
        assert not list((tmp_path / "data" / "environments").iterdir())
    finally:
        program.run("destroy", "--yes", code=None)
