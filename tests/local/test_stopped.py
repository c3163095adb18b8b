"""A stopped environment, and one that was never started, are said in one way by every command that needs it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.boot.runner import run_steps

from .conftest import HELLO, World, eventually, world

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


SLEEPS = HELLO.replace('print("hello from the task")', '__import__("time").sleep(60)').replace("hello", "sleeps")


def test_a_run_that_is_waited_for_ends_with_the_environment(shop: World) -> None:
    shop.write("sleeps.py", SLEEPS)
    shop.up()
    waiting = subprocess.Popen(
        [sys.executable, "-m", "devenv", "run", "sleeps", "--wait"],
        cwd=shop.folder,
        env={**shop.variables, "DEVENV_BACKEND": "local", "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    client = shop.backend().airflow()
    eventually(lambda: [run for run in client.runs(limit=1) if run.dag_id == "sleeps" and run.state == "running"])
    run_steps(shop.backend().down_steps(), shop.events.append)
    said = waiting.communicate(timeout=120)[1]
    assert (waiting.returncode, "the environment is stopped  DEVENV-108\n→ devenv up\n" in said) == (3, True), said
