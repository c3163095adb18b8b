"""`kubectl cp` as a transport: for where no session can be held open, and as the baseline of the benchmarks.

A batch is one `kubectl cp` of numbered files to a folder beside the claim's state, and one `kubectl exec` that moves
each into its place by the agent's own rules, deletes what is to go, and answers.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_args

from devenv import process
from devenv.agent.once import MARK
from devenv.agent_program import agent_command, program, sent
from devenv.foreign_text import clean
from devenv.sync.model import Ack, Batch, Capabilities, Entry, JobIsWriting, Manifest, Put, SchedulerReport, TargetLost
from devenv.sync.targets.agent import (
    JOB_HINT,
    TAKE_OVER_HINT,
    AgentBroken,
    ClaimInUse,
    Owner,
    Reason,
)

_SECONDS = 300.0


class KubectlCopyTarget:
    """See `devenv.sync.model.Target`.

    Args:
        kubectl: the command and its context: `["kubectl", "--context", "devenv"]`.
        namespace: of the pod.
        pod: gives the name of the agent's pod, asked before each use.
        container: in it.
        owner: who syncs.
        roots: names of the synced folders.
        claim: where the claim is mounted writable.
        take_over: use a claim that another environment filled.
    """

    name: str = "kubectl cp"
    capabilities: Capabilities = Capabilities(
        note="with kubectl cp there is no verdict of an agent, and a save takes about a second"
    )

    def __init__(
        self,
        kubectl: Sequence[str],
        namespace: str,
        pod: Callable[[], str],
        container: str,
        owner: Owner,
        *,
        roots: Sequence[str],
        claim: str = "/devenv/claim",
        take_over: bool = False,
    ) -> None:
        self._kubectl = [*kubectl, "-n", namespace]
        self._pod = pod
        self._container = container
        self._common = {"claim": claim, "roots": list(roots), "owner": asdict(owner), "take_over": take_over}
        self._offset = 0.0

    def manifest(self) -> Manifest:
        """What the ledger in the claim says, compared with the disk."""
        entries: dict[str, Entry] = {}
        for row in _rows(self._ask({"do": "manifest"}), "entries", (str, str, str, int, bool)):
            path, kind, digest, size, executable = row
            entries[path] = Entry(path, "folder" if kind == "folder" else "file", digest, size, executable)
        return entries

    def apply(self, batch: Batch) -> Sequence[Ack]:
        """Copies, then moves into place."""
        incoming = f"incoming-{secrets.token_hex(6)}"
        if batch.puts:
            self._copy(batch.puts, incoming)
        answer = self._ask(
            {
                "do": "apply",
                "incoming": incoming,
                "folders": [entry.path for entry in batch.folders],
                "puts": [[put.entry.path, put.entry.digest, put.entry.executable] for put in batch.puts],
                "modes": [[entry.path, entry.executable] for entry in batch.modes],
                "deletes": list(batch.deletes),
            }
        )
        return [
            Ack(path, ok=not reason, error=clean(error, 2_000), reason=_reason(reason))
            for path, reason, error in _rows(answer, "acks", (str, str, str))
        ]

    def clock(self) -> float:
        """The pod's, as of the latest answer."""
        return time.time() + self._offset

    def scheduler(self) -> SchedulerReport:
        """Nothing: a process per question would be too dear (`capabilities.scheduler`)."""
        return SchedulerReport()

    def parse(self, paths: Sequence[str], *, wait: bool = True) -> None:
        """See `Target`: this one does not parse."""

    def touch(self, paths: Sequence[str]) -> None:
        """Sets the files' time to the pod's now."""
        self._ask({"do": "touch", "paths": list(paths)})

    def close(self) -> None:
        """Nothing is held open."""

    def _copy(self, puts: Sequence[Put], incoming: str) -> None:
        with tempfile.TemporaryDirectory(prefix="devenv-") as folder:
            source = Path(folder, incoming)
            source.mkdir(mode=0o700)
            for number, put in enumerate(puts):
                (source / str(number)).write_bytes(put.read())
            place = f"{self._pod()}:{self._common['claim']}/.devenv/{incoming}"
            self._run(["cp", "--no-preserve", "-c", self._container, str(source), place], b"")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One program in the pod, from its source to its answer.

        Raises:
            ClaimInUse, JobIsWriting, AgentBroken: the claim cannot be used.
            TargetLost: kubectl or the pod failed.
        """
        stdin = sent(program()) + json.dumps({**self._common, **request}).encode()
        command = ["exec", "-i", self._pod(), "-c", self._container, "--", *agent_command(module="once")]
        output = self._run(command, stdin)
        try:
            answer = json.loads(output.partition(MARK)[2])
        except ValueError:
            raise TargetLost("the pod's answer was cut short") from None
        if not isinstance(answer, dict):
            raise TargetLost("the pod's answer makes no sense")
        if "refused" in answer:
            raise _refused(str(answer["refused"]), clean(answer.get("message", ""), 2_000))
        if isinstance(answer.get("clock"), (int, float)):
            self._offset = answer["clock"] - time.time()
        return answer

    def _run(self, arguments: Sequence[str], stdin: bytes) -> str:
        child = process.start([*self._kubectl, *arguments], stdin=subprocess.PIPE)
        try:
            output, errors = child.communicate(stdin, timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise TargetLost(f"kubectl {arguments[0]} did not end within {_SECONDS:.0f} s") from error
        finally:
            process.stop(child)
        if child.returncode:
            words = clean(errors.decode("utf-8", "replace"), 2_000).strip()
            raise TargetLost(f"kubectl {arguments[0]} ended with exit code {child.returncode}: {words}")
        return output.decode("utf-8", "replace")


def _refused(reason: str, message: str) -> Exception:
    if reason == "busy":
        return TargetLost(message)
    if reason == "owner":
        return ClaimInUse(message, hint=TAKE_OVER_HINT)
    if reason == "job":
        return JobIsWriting(message, hint=JOB_HINT)
    return AgentBroken(message)


def _reason(word: str) -> Reason:
    return cast("Reason", word if word in get_args(Reason) else "failed")


def _rows(answer: dict[str, Any], name: str, kinds: tuple[type, ...]) -> list[list[Any]]:
    """The rows of an answer, each of just these types.

    Raises:
        TargetLost: it is not a list of such rows.
    """
    rows = answer.get(name)
    fits = isinstance(rows, list) and all(
        isinstance(row, list) and [type(item) for item in row] == list(kinds) for row in rows
    )
    if not fits:
        raise TargetLost("the pod's answer makes no sense")
    return cast("list[list[Any]]", rows)
