"""devenv on another machine, over SSH: a real server on the loopback address, a real terminal at this end."""

from __future__ import annotations

import fcntl
import getpass
import os
import pty
import re
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devenv.sync.lock import holder

from .conftest import World, eventually

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = [
    pytest.mark.local,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not SSHD or not shutil.which("ssh"), reason="there is no sshd: apt-get install openssh-server"),
]

COLUMNS = 100
SERVER = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
"""


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The words with which a command is run on "the other machine", with a terminal there."""
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(SERVER.format(port=port, folder=folder))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where it goes while nobody has logged in; Debian's service makes it
    server = subprocess.Popen([str(SSHD), "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.PIPE)
    known = ("StrictHostKeyChecking=no", f"UserKnownHostsFile={folder}/known", "LogLevel=ERROR", "IdentitiesOnly=yes")
    options = [word for option in known for word in ("-o", option)]
    command = ["ssh", "-tt", "-F", "none", "-i", str(folder / "user"), "-p", str(port), *options]
    try:
        eventually(lambda: reachable(port))
        yield [*command, f"{getpass.getuser()}@127.0.0.1"]
    finally:
        server.terminate()
        server.communicate()


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Terminal:
    """A terminal of 100 columns with a command in it; what it shows."""

    def __init__(self, command: list[str], **variables: str) -> None:
        self._master, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "CI")}
        self.child = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**kept, "TERM": "xterm-256color", **variables},
            start_new_session=True,
        )
        os.close(terminal)
        self.shown = ""

    def until(self, words: str, seconds: float = 240.0) -> None:
        """Reads on until these words are shown."""
        end = time.monotonic() + seconds
        while words not in self.plain():
            assert time.monotonic() < end, self.shown[-3000:]
            if select.select([self._master], [], [], 0.5)[0]:
                try:
                    self.shown += os.read(self._master, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    assert words in self.plain(), self.shown[-3000:]

    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.shown)

    def type(self, data: bytes) -> None:
        os.write(self._master, data)

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait(60)
        os.close(self._master)


@contextmanager
def logged_in(ssh: list[str], made: World, *arguments: str) -> Iterator[Terminal]:
    """devenv in the project's folder on the other machine, as a login there would start it."""
    chosen = {name: value for name, value in made.variables.items() if name.startswith("DEVENV_")}
    variables = {**chosen, "DEVENV_BACKEND": "local", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    words = ["env", *(f"{name}={value}" for name, value in variables.items()), sys.executable, "-m", "devenv"]
    terminal = Terminal([*ssh, f"cd {shlex.quote(str(made.folder))} && exec {shlex.join([*words, *arguments])}"])
    try:
        yield terminal
    finally:
        terminal.close()


def test_a_watch_over_ssh(ssh: list[str], airflow_2: World) -> None:
    """Colours, the width of the terminal at this end, a verdict, Ctrl-C."""
    with logged_in(ssh, airflow_2, "watch") as terminal:
        terminal.until("Ctrl-C stops the watch")
        airflow_2.write("broken.py", "from airflow import DAG\nDAG(\n")
        terminal.until("'(' was never closed")
        assert "\x1b[" in terminal.shown
        assert max(map(len, re.split(r"[\r\n]+", terminal.plain()))) <= COLUMNS
        terminal.type(b"\x03")
        terminal.until("stopping; Ctrl-C again quits at once")
        assert terminal.child.wait(120) == 130
    assert holder(airflow_2.project.state_folder) is None
    (airflow_2.folder / "dags" / "broken.py").unlink()


def test_a_lost_connection_ends_the_watch_and_not_the_environment(ssh: list[str], airflow_2: World) -> None:
    with logged_in(ssh, airflow_2, "watch") as terminal:
        terminal.until("Ctrl-C stops the watch")
        assert holder(airflow_2.project.state_folder) is not None
        terminal.child.send_signal(signal.SIGKILL)
        eventually(lambda: holder(airflow_2.project.state_folder) is None)
    assert airflow_2.backend().status().state == "up"
    with logged_in(ssh, airflow_2, "watch") as terminal:
        terminal.until("Ctrl-C stops the watch")


def test_status_over_ssh(ssh: list[str], airflow_2: World) -> None:
    with logged_in(ssh, airflow_2, "status") as terminal:
        terminal.until("devenv destroy removes it")
        assert terminal.child.wait(60) == 0
        assert "scheduler" in terminal.plain()
        assert max(map(len, re.split(r"[\r\n]+", terminal.plain()))) <= COLUMNS
