"""A stream of bytes in both directions to a program that runs elsewhere: in a pod, or as a child process."""

from __future__ import annotations

from typing import Protocol


class DuplexClosed(Exception):
    """The other side is gone: it ended, or the connection broke. The text says which, and its last words."""


class Duplex(Protocol):
    """The program's standard input and output, as bytes; its standard error is kept for the last words."""

    def write(self, data: bytes) -> None:
        """Sends bytes; blocks while the other side does not read.

        Raises:
            DuplexClosed: the other side is gone.
        """

    def read(self, timeout: float | None = None) -> bytes:
        """The next bytes that arrived, at least one; b"" when none came within `timeout` seconds.

        Raises:
            DuplexClosed: the other side is gone and everything it wrote was read.
        """

    def close(self) -> None:
        """Ends the program and the connection; never raises, may be called from another thread."""
