"""Runs one component; ends it, and everything that came from it, when it or the supervisor is gone.

    python -I guardian.py '{"grace": 5, "signal": "TERM"}' PROGRAM ARGUMENT...

Standard input is a pipe whose other end only the supervisor holds: when that ends, however it was killed,
the pipe does too. A parent-death signal alone would not do: it is Linux only, and reaches children, not
grandchildren; Airflow's task processes moreover leave the process group of their scheduler. So this
process adopts orphans below it (Linux), and looks for members of the component's session (elsewhere).

SIGTERM passes the component's own stop signal on. The exit code is the component's, 128 + N for signal N.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any

ORPHANED_GRACE = 2.5
"""Seconds to end by itself for a component whose supervisor is gone."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _start(command: list[str], user: int | None, group: int | None) -> int:
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        # Python ignores these two, and what is ignored stays so across exec.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if user is not None and group is not None:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # after setuid, which clears it
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.execvp(command[0], command)  # noqa: S606 (no shell is wanted)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _sweep(session: int) -> None:
    """Kills every process that came from the component, also those that left its process group."""
    import psutil

    for _ in range(20):
        left = psutil.Process().children(recursive=True)
        if sys.platform != "linux":
            for process in psutil.process_iter():
                with contextlib.suppress(OSError):
                    if process.pid != os.getpid() and os.getsid(process.pid) == session:
                        left.append(process)
        alive = False
        for process in left:
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    process.kill()
                    alive = True
        while _reap() is not None:
            pass
        if not alive:
            return
        time.sleep(0.02)


def _reap() -> tuple[int, int] | None:
    with contextlib.suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            return pid, status
    return None


def main(arguments: list[str]) -> int:
    """Runs the component to its end; see the module."""
    options: dict[str, Any] = json.loads(arguments[0])
    stop_signal = signal.Signals[f"SIG{options.get('signal', 'TERM')}"]
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    child = _start(arguments[1:], options.get("user"), options.get("group"))

    deadline: float | None = None
    waited_on = [0, woken]
    exit_code: int | None = None
    while exit_code is None:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(waited_on, [], [], timeout)
        if not ready and deadline is not None:
            os.kill(child, signal.SIGKILL)
            deadline = time.monotonic() + 60
        if 0 in ready and not os.read(0, 1024):
            waited_on.remove(0)
            deadline = min(deadline or float("inf"), time.monotonic() + ORPHANED_GRACE)
            os.kill(child, stop_signal)
        if woken in ready and signal.SIGTERM in os.read(woken, 1024) and deadline is None:
            deadline = time.monotonic() + options.get("grace", 5.0)
            os.kill(child, stop_signal)
        while (ended := _reap()) is not None:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                exit_code = code if code >= 0 else 128 - code
    _sweep(child)
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
