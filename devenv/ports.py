"""Ports on 127.0.0.1: which are free, who holds the others, and which a running watch keeps."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from devenv.components import page_name
from devenv.errors import MissingError
from devenv.events import Notice, Reporter
from devenv.files import write_whole
from devenv.settings.schema import PortSettings

_FILE = "state.json"
_TRIES = 200


class NoPortFree(MissingError):
    """None of the ports after the one that was asked for is free."""

    code = "DEVENV-232"


def wanted_port(component: str, ports: PortSettings) -> int:
    """The port that the settings want for a component."""
    return int(getattr(ports, page_name(component)))


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1 there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Who listens on a port: " by NAME (pid N)"; "" where the system does not tell."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid
            if listens and connection.laddr and connection.laddr.port == port:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return ""


def choose(wanted: int, component: str, report: Reporter, *, taken: set[int] | None = None) -> int:
    """The wanted port if it is free, else the next that is, which is said with the holder's name.

    Args:
        wanted: from the settings, or remembered.
        component: for the notice.
        report: takes it.
        taken: ports that were given to others just now.

    Raises:
        NoPortFree: none of the next 200 is.
    """
    avoid = taken if taken is not None else set()
    for port in range(wanted, min(wanted + _TRIES, 65_536)):
        if port not in avoid and is_free(port):
            if port != wanted:
                report(Notice("info", f"port {wanted} is taken{holder(wanted)}; {component} answers on {port}"))
            avoid.add(port)
            return port
    raise NoPortFree(f"No port from {wanted} on is free for {component}", hint="Set another in [ports] in devenv.toml.")


def hold(state_folder: Path, ports: Mapping[str, int]) -> None:
    """Notes that this process keeps these ports, for `devenv status` in another terminal."""
    write_whole(state_folder / _FILE, json.dumps({"pid": os.getpid(), "ports": dict(ports)}))


def held(state_folder: Path) -> dict[str, int]:
    """Component → port that a living process keeps."""
    try:
        noted = json.loads((state_folder / _FILE).read_text(encoding="utf-8"))
        ports = {str(name): int(port) for name, port in noted["ports"].items()}
        os.kill(int(noted["pid"]), 0)  # sends nothing: whether the process is there
    except PermissionError:
        return ports  # it is, as another user's
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return {}
    return ports


def release(state_folder: Path) -> None:
    """Takes the note back."""
    with contextlib.suppress(FileNotFoundError):
        (state_folder / _FILE).unlink()
