"""What the doctor reads of the machine, in one object that tests replace."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devenv import process
from devenv.environment import Environment


@dataclass
class Machine:
    """The laptop: programs, files of the system, memory, disks, ports, interfaces."""

    environment: Environment = field(default_factory=Environment)
    platform: str = sys.platform

    def which(self, program: str) -> str | None:
        """The path of a program, or None."""
        return process.which(program, self.environment.variables)

    def run(self, command: Sequence[str], *, timeout: float = 10.0) -> process.Completed:
        """Runs a program to its end, whatever its exit code; raises as `process.run` does."""
        return process.run(command, timeout=timeout, variables=self.environment.variables, check=False)

    def read(self, path: str) -> str:
        """A file of the system, "" where it cannot be read."""
        with contextlib.suppress(OSError):
            return Path(path).read_text(encoding="utf-8", errors="replace")
        return ""

    def memory(self) -> int:
        """Bytes of memory that this machine has."""
        import psutil

        return int(psutil.virtual_memory().total)

    def free_disk(self, folder: Path) -> int:
        """Bytes that this user may still write where a folder lies, or will lie."""
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def writable(self, folder: Path) -> bool:
        """Whether this user may make files in a folder."""
        return os.access(folder, os.W_OK | os.X_OK)

    def listener(self, port: int) -> str | None:
        """Who listens on a port of 127.0.0.1: `nginx (process 812)`, "another user's process", or None."""
        import psutil

        with contextlib.suppress(psutil.Error, OSError):  # macOS tells only root about other users' processes
            for connection in psutil.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port:
                    if connection.pid:
                        return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
                    return "another user's process"
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return "another user's process" if probe.connect_ex(("127.0.0.1", port)) == 0 else None

    def addresses(self) -> list[tuple[str, str, str]]:
        """Interface, IPv4 address and netmask of each interface that has one."""
        import psutil

        return [
            (name, address.address, address.netmask or "255.255.255.255")
            for name, found in psutil.net_if_addrs().items()
            for address in found
            if address.family == socket.AF_INET
        ]

    def resolve(self, host: str, *, timeout: float = 3.0) -> list[str]:
        """The addresses of a name; empty where it has none, or nobody answers in time.

        Where there is no network, the system's resolver itself waits for 10 seconds and more.
        """
        found: set[str] = set()

        def ask() -> None:
            with contextlib.suppress(OSError):
                found.update(str(each[4][0]) for each in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP))

        asking = threading.Thread(target=ask, name=f"resolve {host}", daemon=True)
        asking.start()
        asking.join(timeout)
        return sorted(found) if not asking.is_alive() else []
