"""A folder of this machine as a target: the agent's own rules of writing, without an agent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from devenv.agent.claim import Claim
from devenv.agent.refusal import Refused
from devenv.sync.model import Ack, Batch, Capabilities, Entry, Manifest, Put, SchedulerReport, TargetLost

_REASONS = ("changed", "space", "permission", "unsafe", "unsupported")


class FolderTarget:
    """Writes below `folder/ROOT`, keeps its record of what is devenv's in `folder/.devenv`.

    Raises:
        TargetLost: the folder is not there or cannot be written.
    """

    name = "folder"

    def __init__(
        self,
        folder: Path,
        roots: Sequence[str],
        owner: Mapping[str, str],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        try:
            self._claim = Claim(str(folder), roots, owner)
        except Refused as error:
            raise TargetLost(str(error)) from error
        self.capabilities = Capabilities(case_sensitive=not Path(str(folder / ".devenv").upper()).exists())

    def manifest(self) -> Manifest:
        """What is there of what was written, read anew."""
        try:
            self._claim.verify()
        except OSError as error:
            raise TargetLost(f"the folder cannot be read: {error.strerror}") from error
        return {
            path: Entry(path, "folder" if held.kind == "folder" else "file", held.digest, held.size, held.executable)
            for path, held in self._claim.ledger.items()
        }

    def apply(self, batch: Batch) -> Sequence[Ack]:
        """Writes, file by file, each under a temporary name first."""
        claim = self._claim
        acks = [
            *(_tried(entry.path, partial(claim.make_folder, entry.path)) for entry in batch.folders),
            *(_tried(put.entry.path, partial(self._put, put)) for put in batch.puts),
            *(_tried(e.path, partial(claim.set_mode, e.path, executable=e.executable)) for e in batch.modes),
            *(_tried(path, partial(claim.delete, path)) for path in batch.deletes),
        ]
        claim.settle()
        return acks

    def clock(self) -> float:
        """This machine's."""
        return self._now()

    def scheduler(self) -> SchedulerReport:
        """Nothing: no scheduler is asked through a folder (`capabilities.scheduler`)."""
        return SchedulerReport()

    def parse(self, paths: Sequence[str], *, wait: bool = True) -> None:
        """See `Target`: this one does not parse."""

    def touch(self, paths: Sequence[str]) -> None:
        """Sets the files' time to now."""
        for path in paths:
            self._claim.touch(path)

    def close(self) -> None:
        """Writes the record."""
        self._claim.close()

    def _put(self, put: Put) -> None:
        writing = self._claim.put(put.entry.path, put.entry.digest, executable=put.entry.executable)
        writing.write(put.read())
        writing.finish()


def _tried(path: str, change: Callable[[], None]) -> Ack:
    try:
        change()
    except Refused as error:
        reason = error.reason if error.reason in _REASONS else "failed"
        return Ack(path, ok=False, error=str(error), reason=reason)  # type: ignore[arg-type]
    return Ack(path, ok=True)
