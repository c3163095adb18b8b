"""The output of a run, which arrives in pieces, as lines."""

from __future__ import annotations

_LIMIT = 65_536
"""Bytes after which a line that does not end is passed on as it is."""


class Lines:
    """Holds back what has not ended yet."""

    def __init__(self) -> None:
        self._partial = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are whole with these bytes."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        return [_text(line) for line in lines] + (self.rest() if len(self._partial) > _LIMIT else [])

    def rest(self) -> list[str]:
        """What was written without an end of its line; none or one."""
        partial, self._partial = self._partial, b""
        return [_text(partial)] if partial else []


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
