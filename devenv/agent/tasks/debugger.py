"""Debuggers of a test run: debugpy, which an editor attaches to, and pdb in the laptop's terminal."""

from __future__ import annotations

import importlib
import os
import pdb
import sys
from typing import Any

from devenv.agent.tasks.outcome import Events, Interrupted

_QUIET = {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "PYDEVD_LOAD_NATIVE_LIB": "0"}
"""debugpy does not warn of modules that are frozen into Python, nor look for its compiled ones."""


def wait_for_editor(folder: str, port: int, events: Events) -> None:
    """Listens for an editor in this process, and returns once one has attached and set its breakpoints.

    Args:
        folder: where debugpy's modules are.
        port: on 127.0.0.1; 0 takes a free one.
        events: gets `debugger` with the port.

    Raises:
        Interrupted: Ctrl-C ended the wait.
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
        events: gets `input` when a line is wanted.
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
