"""Whose program is at the other end of a connection on 127.0.0.1."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

_TABLE = Path("/proc/net/tcp")
_ROOT = 0


def is_ours(client: tuple[str, int], port: int) -> bool:
    """Whether the client of a connection to 127.0.0.1 runs as this user (or as root, who may do anything anyway).

    True where the system does not tell: only Linux has a table of connections with their owners that all may read.

    Args:
        client: address and port of the client.
        port: of the server, on 127.0.0.1.
    """
    try:
        rows = [line.split() for line in _TABLE.read_text(encoding="ascii").splitlines()[1:]]
    except OSError:
        return True
    wanted = (_hexadecimal(*client), _hexadecimal("127.0.0.1", port))
    owners = [int(row[7]) for row in rows if len(row) > 7 and (row[1], row[2]) == wanted]
    return all(owner in (os.getuid(), _ROOT) for owner in owners) if owners else False


def _hexadecimal(address: str, port: int) -> str:
    """`127.0.0.1` and 80 as the kernel writes them: the address in the machine's byte order, then the port."""
    (number,) = struct.unpack("=I", socket.inet_aton(address))
    return f"{number:08X}:{port:04X}"
