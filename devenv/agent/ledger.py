"""What devenv put into the claim, remembered in the claim itself: a snapshot and a journal of the changes since.

The journal's line is written before the file appears under its name, so a killed agent never leaves a file behind
that nobody owns. A line that cannot be read is skipped; a path that is on record and not on the disk is dropped.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

from devenv.agent.frames import compact_json, fingerprint, safe_parts

SNAPSHOT = "manifest.json"
JOURNAL = "journal.jsonl"
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC


class Held(NamedTuple):
    """A file or folder that devenv put there, and the traits by which an unchanged file is known without reading it."""

    kind: str
    digest: str = ""
    size: int = 0
    executable: bool = False
    modified: int = 0
    """Nanoseconds since the epoch."""
    inode: int = 0


class Ledger:
    """Path → `Held`, kept in the folder `.devenv` of the claim, and its root digest."""

    def __init__(self, folder: int) -> None:
        """Reads what the folder (a descriptor, which stays the caller's) has on record."""
        self._folder = folder
        self._held: Dict[str, Held] = {}
        self.root_digest = 0
        for path, held in self._read_snapshot():
            self._set(path, held)
        self._lines = 0
        for path, change in self._read_journal():
            self._set(path, change)
            self._lines += 1
        self._journal = os.open(JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _FLAGS, 0o600, dir_fd=folder)

    def __contains__(self, path: str) -> bool:
        return path in self._held

    def __len__(self) -> int:
        return len(self._held)

    def get(self, path: str) -> Optional[Held]:
        """What is on record for a path."""
        return self._held.get(path)

    def items(self) -> Iterator[Tuple[str, Held]]:
        """Everything on record; changing the ledger on the way is allowed."""
        return iter(list(self._held.items()))

    def paths(self) -> List[str]:
        """Every path on record."""
        return list(self._held)

    def record(self, path: str, held: Optional[Held]) -> None:
        """Notes a change (None: no longer ours), on the disk first.

        Raises:
            OSError: the disk is full, or gone; then nothing changed.
        """
        # The newline comes first: half a line, of an agent that was killed or a full disk, then spoils no other.
        line = ("\n" + compact_json([path, held])).encode()
        if os.write(self._journal, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._lines += 1
        self._set(path, held)

    def compact(self, *, least: int = 0) -> None:
        """Writes the snapshot anew and empties the journal, when that has more than `least` lines.

        A full disk is no harm: the journal then keeps the truth.
        """
        if self._lines <= least:
            return
        temporary = SNAPSHOT + ".new"
        body = compact_json(self._held)
        try:
            target = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FLAGS, 0o600, dir_fd=self._folder)
            with open(target, "wb") as stream:
                stream.write(body.encode())
            os.replace(temporary, SNAPSHOT, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.ftruncate(self._journal, 0)
            self._lines = 0
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self._folder)

    def close(self) -> None:
        """Writes the snapshot and lets go of the journal."""
        self.compact()
        os.close(self._journal)

    def _set(self, path: str, held: Optional[Held]) -> None:
        before = self._held.pop(path, None)
        if before is not None and held is not None and before[:4] == held[:4]:
            self._held[path] = held  # only time or inode differ, which the digest leaves out
            return
        for one in (before, held):
            if one is not None:
                self.root_digest ^= fingerprint(path, one.kind, one.digest, executable=one.executable)
        if held is not None:
            self._held[path] = held

    def _read_snapshot(self) -> Iterator[Tuple[str, Held]]:
        try:
            raw = json.loads(self._read(SNAPSHOT))
        except ValueError:
            return
        for path, fields in raw.items() if isinstance(raw, dict) else ():
            held = _held(fields)
            if held is not None and safe_parts(path):
                yield path, held

    def _read_journal(self) -> Iterator[Tuple[str, Optional[Held]]]:
        for line in self._read(JOURNAL).splitlines():
            try:
                path, fields = json.loads(line)
            except (ValueError, TypeError):
                continue
            if safe_parts(path):
                yield path, _held(fields)

    def _read(self, name: str) -> str:
        try:
            with open(os.open(name, os.O_RDONLY | _FLAGS, dir_fd=self._folder), "rb") as stream:
                return stream.read().decode("utf-8", "replace")
        except OSError:
            return ""


def _held(fields: Any) -> Optional[Held]:
    kinds = (str, str, int, bool, int, int)
    if not isinstance(fields, list) or len(fields) != len(kinds):
        return None
    if not all(isinstance(field, kind) for field, kind in zip(fields, kinds)) or fields[0] not in ("file", "folder"):
        return None
    return Held(*fields)
