"""One writer per claim.

`.devenv/agent.lock` is held (flock) by the agent for the length of its session, `.devenv/job.lock` by the `sync-dags`
Job while it copies. Each takes its own lock first and then looks at the other's, so two that start at once may
both give way, but never both go on. The agent's lock says who holds it, so that whoever is refused can be told.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import time
from typing import Any, Dict, Mapping

from devenv.agent.refusal import Refused

AGENT_LOCK = "agent.lock"
JOB_LOCK = "job.lock"
OWNER = "owner.json"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_ORPHAN_SECONDS = 5.0
_PATIENCE_SECONDS = 0.3
"""How long the Job may look at the lock, or a session that was just closed may take to end by itself."""


class ClaimLock:
    """The agent's hold on a claim, from construction to `close`."""

    def __init__(self, state: int, owner: Mapping[str, Any], *, take_over: bool = False) -> None:
        """Takes the lock; ends an agent that the same owner left behind in this container.

        Args:
            state: descriptor of the claim's folder `.devenv`.
            owner: who asks: `environment` (identifier), `host`, `user`, `folder`.
            take_over: take a claim that another environment left, when no agent of it is alive.

        Raises:
            Refused: `owner` (another holds it or filled it, and the text names them), `job` (the sync-dags Job is
                writing) or `busy` (the same owner's agent lives in another pod).
        """
        self._file = os.open(AGENT_LOCK, _FLAGS, 0o600, dir_fd=state)
        try:
            self._take(dict(owner))
            self._refuse_job(state)
            self._refuse_foreign(state, dict(owner), take_over=take_over)
        except BaseException:
            os.close(self._file)
            raise

    def close(self) -> None:
        """Lets go."""
        os.ftruncate(self._file, 0)
        os.close(self._file)

    def _take(self, owner: Dict[str, Any]) -> None:
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while not _flock(self._file):
            holder = _read(self._file)
            if not holder:
                raise Refused("busy", "another agent or the sync-dags Job is just taking this claim")
            if holder.get("owner") != owner:
                raise Refused("owner", f"this claim is in use by {describe(holder.get('owner'))}")
            if time.monotonic() > deadline or holder.get("container") != socket.gethostname():
                raise Refused("busy", "an agent of this environment in another pod still holds the claim")
            waited = _ORPHAN_SECONDS - (deadline - time.monotonic())
            if waited > _PATIENCE_SECONDS:
                _end(holder.get("pid"), signal.SIGKILL if waited > _ORPHAN_SECONDS / 2 else signal.SIGTERM)
            time.sleep(0.02)
        _write(self._file, {"owner": owner, "pid": os.getpid(), "container": socket.gethostname()})

    @staticmethod
    def _refuse_job(state: int) -> None:
        job = os.open(JOB_LOCK, _FLAGS, 0o600, dir_fd=state)
        try:
            if not _flock(job):
                raise Refused("job", "the sync-dags Job is writing to this claim")
        finally:
            os.close(job)

    @staticmethod
    def _refuse_foreign(state: int, owner: Dict[str, Any], *, take_over: bool) -> None:
        record = os.open(OWNER, _FLAGS, 0o600, dir_fd=state)
        try:
            before = _read(record)
            if before and before.get("environment") != owner.get("environment") and not take_over:
                raise Refused("owner", f"this claim was filled by {describe(before)}")
            if before != owner:
                _write(record, owner)
        finally:
            os.close(record)


def describe(owner: Any) -> str:
    """An owner in words."""
    if not isinstance(owner, dict):
        return "somebody unknown"
    who = "{}@{}".format(owner.get("user", "?"), owner.get("host", "?"))
    return "environment {} ({}, folder {})".format(owner.get("environment", "?"), who, owner.get("folder", "?"))


def _end(pid: Any, kill: int) -> None:
    """Ends an orphan, when the process of that number really is an agent."""
    try:
        with open(f"/proc/{int(pid)}/cmdline", "rb") as stream:
            if b"devenv-agent" not in stream.read():
                return
    except FileNotFoundError:
        if os.path.isdir("/proc/self"):
            return  # it ended just now
    except (OSError, TypeError, ValueError):
        return
    try:
        os.kill(int(pid), kill)
    except OSError:
        pass  # it ended just now, or is another user's, which the caller's time limit reports


def _flock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(file: int) -> Dict[str, Any]:
    try:
        raw = json.loads(os.pread(file, 65_536, 0).decode("utf-8"))
    except ValueError:
        return {}
    return raw if isinstance(raw, dict) else {}


def _write(file: int, value: Mapping[str, Any]) -> None:
    body = json.dumps(dict(value)).encode()
    os.pwrite(file, body, 0)
    os.ftruncate(file, len(body))
