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
HOSTILE = (
    "$(touch ran)",
    "`touch ran`",
    "'; touch ran; '",
    '"; touch ran; "',
    "a b",
    "*",
    "~root",
    "$HOME",
    "x=$(touch ran)",
    "a;touch ran",
    "a|touch ran",
    "a\\nb",
    "a:b",
)
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


@pytest.fixture
def hostile(shop: dict[str, object]) -> dict[str, object]:
    """A cloned repository whose DAG ids and file names are shell code."""
    dags = Path(str(shop["cwd"])) / "dags"
    names = "".join(f"DAG(dag_id={'zz' + name!r})\n" for name in HOSTILE)
    (dags / "hostile.py").write_text(f"from airflow import DAG\n{names}DAG(dag_id={chr(27) + ']0;zzowned'!r})\n")
    return shop


def check_nothing_ran(shop: dict[str, object]) -> None:
    assert sorted(path.name for path in Path(str(shop["cwd"])).iterdir()) == ["dags"]


@needs("bash")
def test_names_are_data_in_bash(hostile: dict[str, object]) -> None:
    """What bash inserts is quoted: evaluated as a command line, each word is the name itself, and nothing runs."""
    script = (
        "source <(devenv completion bash); COMP_WORDS=(devenv run zz); COMP_CWORD=2; _devenv_completion; "
        'for word in "${COMPREPLY[@]}"; do eval "printf \'%s\\\\n\' $word"; done'
    )
    told = output(hostile, "bash", "--norc", "-c", script)
    assert set(told.splitlines()) == {f"zz{name}" for name in HOSTILE if "\n" not in name}
    check_nothing_ran(hostile)


@needs("fish")
def test_names_are_data_in_fish(hostile: dict[str, object]) -> None:
    told = output(hostile, "fish", "--no-config", "-c", "devenv completion fish | source; complete -C 'devenv run zz'")
    assert {line.split("\t")[0] for line in told.splitlines()} == {f"zz{name}" for name in HOSTILE if "\n" not in name}
    check_nothing_ran(hostile)


@needs("zsh")
def test_names_are_data_in_zsh(hostile: dict[str, object]) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(str(hostile["cwd"]))
        os.execvpe("zsh", ["zsh", "-f"], hostile["env"])  # type: ignore[arg-type]
    try:
        os.write(terminal, b"PROMPT='> '; autoload -U compinit; compinit -u -D; setopt menu_complete\n")
        os.write(terminal, b"source <(devenv completion zsh); echo rea''dy\n")
        wait_for(terminal, {"ready"})
        for _ in HOSTILE:  # each Tab inserts another of them
            os.write(terminal, b"devenv run zz\t")
            wait_for(terminal, {"zz"})
            os.write(terminal, b"\x15")
        os.write(terminal, b": devenv run zz\t; echo en''d\n")
        wait_for(terminal, {"end"})
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    check_nothing_ran(hostile)


def test_a_script_of_an_earlier_version_gets_nothing_to_evaluate(hostile: dict[str, object]) -> None:
    hostile["env"] = {**hostile["env"], "_DEVENV_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "devenv run zz"}  # type: ignore[dict-item]
    assert output(hostile, "devenv") == ""


@pytest.mark.parametrize("what", ["a device", "a pipe", "deep nesting", "many files"])
def test_completion_ends_whatever_lies_in_the_folder(shop: dict[str, object], what: str) -> None:
    dags = Path(str(shop["cwd"])) / "dags"
    if what == "a device":
        (dags / "a.py").symlink_to("/dev/zero")
        (Path(str(shop["cwd"])) / "devenv.toml").symlink_to("/dev/zero")
    elif what == "a pipe":
        os.mkfifo(dags / "a.py")
        os.mkfifo(Path(str(shop["cwd"])) / "devenv.toml")
    elif what == "deep nesting":
        (dags / "a.py").write_text("x = " + "(" * 50_000 + ")" * 50_000)
        (dags / "b.py").write_text("x = " + "-" * 200_000 + "1")
    else:
        for number in range(3_000):
            (dags / f"a{number}.py").write_text(DAG)
    shop["env"] = {**shop["env"], "_DEVENV_COMPLETE": "lines"}  # type: ignore[dict-item]
    done = subprocess.run(["devenv", "run", ""], capture_output=True, timeout=10, check=False, **shop)  # type: ignore[call-overload]
    assert (done.returncode, done.stderr) == (0, b"")


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
