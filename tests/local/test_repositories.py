"""A repository laid out for something else, from `git clone` to a run, with no setting written by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.layouts import LAYOUTS
from tests.support.program import Program

from .conftest import cache_folder

pytestmark = [pytest.mark.local, pytest.mark.repositories, pytest.mark.timeout(900)]


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_it_comes_up(name: str, tmp_path: Path) -> None:
    variables = {"DEVENV_DATA": str(tmp_path / "data"), "DEVENV_CACHE": str(cache_folder())}
    program = Program((sys.executable, "-m", "devenv"), LAYOUTS[name].clone(tmp_path), variables)
    try:
        LAYOUTS[name].live(program, "--backend", "local", "--port", "18085")
        (release,) = [line for line in program.json("config") if line.data["name"] == "airflow.version"]
        assert release.data["value"] == LAYOUTS[name].release
    finally:
        program.run("destroy", "--yes", code=None)
