"""Repositories laid out for something else, on minikube: from `git clone` to a run, with no setting written by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.layouts import LAYOUTS
from tests.support.program import Program

pytestmark = [pytest.mark.cluster, pytest.mark.repositories, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("name", ["compose", "own-image", "local-packages"])
def test_it_comes_up(name: str, tmp_path: Path, empty_profile: str) -> None:
    variables = {
        "DEVENV_DATA": str(tmp_path / "data"),
        "DEVENV_MINIKUBE__PROFILE": empty_profile,
        "DEVENV_MINIKUBE__MEMORY": "6g",
    }
    program = Program((sys.executable, "-m", "devenv"), LAYOUTS[name].clone(tmp_path), variables)
    try:
        LAYOUTS[name].live(program)
    finally:
        program.run("destroy", "--yes", code=None)
