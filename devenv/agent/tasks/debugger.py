"""Debuggers of a test run: debugpy, which an editor attaches to, and pdb in the laptop's terminal.

debugpy comes from the laptop as a zip of its Python modules, so that no image needs it.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import pdb
import sys
import zipfile
from typing import Any

from devenv.agent.tasks.outcome import Events, Interrupted

_QUIET = {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYDEVD_LOAD_NATIVE_LIB": "0"}
"""debugpy does not warn of modules that are frozen into Python, nor look for its compiled ones."""


class Debugger:
    """debugpy as it arrived from a laptop.

    Attributes:
        digest: SHA-256 of the zip that is unpacked; "" while there is none.
        folder: where its modules are.
    """

    def __init__(self, folder: str) -> None:
        """Takes a folder for what arrives."""
        self._folder = folder
        self._arrived = bytearray()
        self.digest = ""
        self.folder = ""

    def take(self, data: bytes, *, last: bool) -> None:
        """Takes the next bytes of the zip; the last make it ready.

        Raises:
            ValueError: they are no zip.
        """
        self._arrived += data
        if not last:
            return
        content, self._arrived = bytes(self._arrived), bytearray()
        digest = hashlib.sha256(content).hexdigest()
        folder = os.path.join(self._folder, f"debugger-{digest[:16]}")
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                archive.extractall(folder)
        except zipfile.BadZipFile as error:
            raise ValueError(str(error)) from error
        self.digest, self.folder = digest, folder


def wait_for_editor(folder: str, port: int, events: Events) -> None:
    """Listens for an editor in this process, and returns once one has attached and set its breakpoints.

    Args:
        folder: where debugpy's modules are.
        port: on 127.0.0.1; 0 takes a free one.
        events: told `debugger` with the port.

    Raises:
        Interrupted: nobody wants to wait any more.
    """
    os.environ.update(_QUIET)
    sys.path.append(folder)
    debugpy: Any = importlib.import_module("debugpy")
    sys.path.remove(folder)
    debugpy.configure(python=sys.executable, subProcess=False)
    _host, listening = debugpy.listen(("127.0.0.1", port))
    events.send("debugger", port=listening)
    try:
        debugpy.wait_for_client()
    except KeyboardInterrupt:
        raise Interrupted from None


def offer_terminal(typed: int, events: Events) -> None:
    """Makes `breakpoint()` open pdb, whose lines are typed in the laptop's terminal.

    Args:
        typed: the descriptor from which the lines come.
        events: told `input` when a line is wanted.
    """
    lines = _Typed(typed, events)
    output = open(1, "w", encoding="utf-8", errors="replace", buffering=1, closefd=False)

    def stop(*_arguments: Any, **_named: Any) -> None:
        prompt = pdb.Pdb(stdin=lines, stdout=output, nosigint=True)  # type: ignore[arg-type]
        prompt.prompt = ""  # the laptop writes it
        prompt.set_trace(sys._getframe(1))  # noqa: SLF001 (as `pdb.set_trace` does)

    sys.breakpointhook = stop


class _Typed:
    """Lines that are typed on the laptop, as pdb reads them."""

    def __init__(self, file: int, events: Events) -> None:
        self._file = file
        self._events = events
        self._data = b""

    def readline(self) -> str:
        """The next line, asked for; "" at the end."""
        self._events.send("input")
        while b"\n" not in self._data:
            data = os.read(self._file, 65_536)
            if not data:
                return ""
            self._data += data
        line, _, self._data = self._data.partition(b"\n")
        return line.decode("utf-8", "replace") + "\n"
