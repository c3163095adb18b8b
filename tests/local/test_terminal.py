"""What needs a process or a terminal of its own: signals, and what is written to which stream."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.local, pytest.mark.timeout(300)]

STUBBORN = """
import time
from devenv.__main__ import main
from devenv.cli import app

def stubborn(name):
    print("ready", flush=True)
    try:
        time.sleep(600)
    finally:
        time.sleep(600)

app.load_command = stubborn
raise SystemExit(main(["config"]))
"""


def test_the_first_ctrl_c_speaks_at_once_and_the_second_ends_the_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        assert child.stderr.readline() == "\n"
        assert child.stderr.readline() == "stopping; Ctrl-C again quits at once\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(120) == 130


@pytest.mark.parametrize(
    ("variables", "colours"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_a_real_terminal_has_colours_unless_told_otherwise(
    tmp_path: Path, variables: dict[str, str], colours: bool
) -> None:
    master, terminal = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    done = subprocess.run(
        [sys.executable, "-m", "devenv", "status"],
        cwd=tmp_path,
        env={**kept, **variables},
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=terminal,
        timeout=120,
        check=False,
    )
    os.close(terminal)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert done.returncode == 2
    assert done.stdout == b"", "a message is no data"
    assert "DEVENV-102" in shown
    assert ("\x1b[" in shown) is colours
