"""A program inside a component that has this terminal for as long as it runs."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from devenv import process

if TYPE_CHECKING:
    from devenv.backends.base import Backend


def run_inside(backend: Backend, component: str, command: Sequence[str]) -> int:
    """Runs a program in a component, joined to this terminal; returns its exit code, 128 + N for signal N.

    Raises:
        EnvironmentStopped: there is nothing to run it in.
    """
    from devenv.backends.base import EnvironmentStopped

    state = backend.status().state
    if state in ("stopped", "missing"):
        raise EnvironmentStopped(state)
    code = attached(backend.command(component, command, interactive=True))
    return code if code >= 0 else 128 - code


def attached(child: subprocess.Popen[bytes]) -> int:
    """Waits for a program that has the terminal; Ctrl-C is the program's, not ours. Returns its exit code."""
    try:
        with _ctrl_c_is_for_the_child():
            return child.wait()
    finally:
        process.stop(child)


@contextlib.contextmanager
def _ctrl_c_is_for_the_child() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
