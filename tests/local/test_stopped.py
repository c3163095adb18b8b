"""A stopped environment, and one that was never started, are said in one way by every command that needs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.boot.runner import run_steps

from .conftest import HELLO, World, world

pytestmark = [pytest.mark.local, pytest.mark.timeout(600)]

NEED_IT = (
    ("run", "hello"),
    ("dags",),
    ("test", "hello"),
    ("backfill", "hello", "--from", "2026-01-01", "--to", "2026-01-02"),
    ("airflow", "version"),
    ("psql", "-c", "select 1"),
    ("shell", "scheduler"),
    ("open", "--print"),
    ("secrets", "seed"),
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("stopped")) as made:
        made.write("hello.py", HELLO)
        yield made


def devenv(made: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devenv", *arguments],
        cwd=made.folder,
        env={**made.variables, "DEVENV_BACKEND": "local", "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_told(made: World, words: str) -> None:
    wrong = {}
    for arguments in NEED_IT:
        done = devenv(made, *arguments)
        expected = f"error: {words}  DEVENV-108\n→ devenv up\n"
        if (done.returncode, done.stderr) != (3, expected):
            wrong[arguments] = (done.returncode, done.stderr, done.stdout)
    assert not wrong


def test_every_command_says_it_in_one_way(shop: World) -> None:
    assert_told(shop, "the environment was not started yet")
    shop.up()
    run_steps(shop.backend().down_steps(), shop.events.append)
    assert_told(shop, "the environment is stopped")
