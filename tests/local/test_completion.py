"""Completion in the real shells: what bash, zsh and fish offer for commands, flags, DAGs and tasks."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DAG = """
from airflow.decorators import dag, task

@dag(schedule=None)
def taskflow():
    @task
    def extract(): ...
    @task
    def load(): ...
"""
OFFERED = [
    ("devenv st", {"status"}),
    ("devenv run ta", {"taskflow"}),
    ("devenv test taskflow ", {"extract", "load"}),
    ("devenv logs sched", {"scheduler"}),
    ("devenv up --backend ", {"auto", "kubernetes", "local", "minikube"}),
    ("devenv open gr", {"grafana"}),
]

pytestmark = [pytest.mark.local, pytest.mark.timeout(300)]


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(shell), reason=f"there is no {shell}: apt-get install {shell}")


@pytest.fixture
def shop(tmp_path: Path) -> dict[str, object]:
    """A project, and `devenv` on PATH; for `subprocess.run`."""
    (tmp_path / "shop" / "dags").mkdir(parents=True)
    (tmp_path / "shop" / "dags" / "taskflow.py").write_text(DAG)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "devenv"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m devenv "$@"\n')
    program.chmod(0o755)
    root = str(Path(__file__).resolve().parents[2])
    variables = {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": root, "TERM": "dumb"}
    return {"cwd": tmp_path / "shop", "env": variables}


def output(shop: dict[str, object], *command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **shop)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@needs("bash")
@pytest.mark.parametrize(("line", "offered"), OFFERED)
def test_bash(shop: dict[str, object], line: str, offered: set[str]) -> None:
    script = (
        'source <(devenv completion bash); IFS=" "; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_devenv_completion devenv; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    assert set(output(shop, "bash", "--norc", "-c", script, "bash", *line.split(" ")).split()) == offered


@needs("fish")
@pytest.mark.parametrize(("line", "offered"), OFFERED)
def test_fish(shop: dict[str, object], line: str, offered: set[str]) -> None:
    script = f"devenv completion fish | source; complete -C '{line}'"
    told = output(shop, "fish", "--no-config", "-c", script)
    assert {each.split("\t")[0] for each in told.splitlines()} == offered


@needs("zsh")
@pytest.mark.parametrize(("line", "offered"), OFFERED)
def test_zsh(shop: dict[str, object], line: str, offered: set[str]) -> None:
    """Its completion runs in its line editor only, so it gets a terminal and the Tab key."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(str(shop["cwd"]))
        os.execvpe("zsh", ["zsh", "-f"], shop["env"])  # type: ignore[arg-type]
    try:
        os.write(terminal, b"PROMPT='> '; autoload -U compinit; compinit -u -D\n")
        os.write(terminal, b"source <(devenv completion zsh); echo rea''dy\n")
        wait_for(terminal, {"ready"})
        os.write(terminal, line.encode() + b"\t")
        wait_for(terminal, offered)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def wait_for(terminal: int, words: set[str]) -> None:
    """Reads what the terminal shows until all words were in it."""
    shown, end = "", time.monotonic() + 120
    while not all(word in shown for word in words):
        assert time.monotonic() < end, shown
        if select.select([terminal], [], [], 1.0)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
