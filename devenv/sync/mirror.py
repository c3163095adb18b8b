"""Bringing one open target in step with the folders: scan, compare, guard, send, and note what was acknowledged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from devenv.sync.guard import Guard, Held
from devenv.sync.model import Ack, Batch, Entry, Manifest, Target
from devenv.sync.plan import Change, changes, plan, refuse_impossible
from devenv.sync.scan import FileUnstable, Scan, Scanner

DELETE_SECONDS = 0.1
"""A file must be gone this long before it is deleted: editors move a file away and write a new one (vim)."""
_UNSETTLED_SECONDS = 0.03
_UNSETTLED_LIMIT_SECONDS = 2.0
_CHANGED_SECONDS = 0.02
_RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)


@dataclass(frozen=True)
class Outcome:
    """What one step did.

    Attributes:
        done: acknowledged changes.
        failed: answers that say no, but for files that changed on the way, which are simply sent again.
        held: deletes that wait for a word.
        skipped: path → why it is not sent.
        again: seconds until another look is due, or None.
        in_step: whether the target now holds what the folders do, all that is sent at all.
    """

    done: tuple[Change, ...]
    failed: tuple[Ack, ...]
    held: Held | None
    skipped: dict[str, str]
    again: float | None
    in_step: bool


@dataclass(frozen=True)
class _Refusal:
    """A path that the target refused, in this state; not sent again before its time."""

    entry: Entry | None
    attempt: int
    due: float


class Mirror:
    """Keeps one session's target in step. A new session needs a new one; scanner and guard live on.

    Args:
        target: open.
        scanner: of the synced folders.
        guard: over deletes.
        monotonic: seconds.

    Raises:
        TargetLost: the session broke while the target's manifest was read.
    """

    def __init__(
        self, target: Target, scanner: Scanner, guard: Guard, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.target = target
        self._scanner = scanner
        self._guard = guard
        self._monotonic = monotonic
        self._gone_since: dict[str, float] = {}
        self._refused: dict[str, _Refusal] = {}
        self._unsettled_looks = 0
        self.remote: dict[str, Entry] = dict(target.manifest())

    def files(self) -> int:
        """How many files the target holds."""
        return sum(entry.kind == "file" for entry in self.remote.values())

    def differences(self) -> tuple[list[Change], bool, Scan]:
        """What differs now between files, and whether nothing does, folders included; changes nothing."""
        scan = self._scanner.scan()
        local = keep(scan.entries, self.remote, _below(self.remote, scan.unknown))
        return changes(local, self.remote), local == self.remote and not scan.unknown, scan

    def step(
        self,
        hints: Iterable[Path] | None = None,
        *,
        patient: bool = True,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Looks at the hinted paths (None: everything) and sends what differs.

        Args:
            hints: as of `Scanner.scan`.
            patient: wait with deletes (and with new files that may belong to them) until a path was gone for
                `DELETE_SECONDS`; a file that only moved is not waited for.
            interrupted: whether something began to change the folder while it was looked at (a `git checkout`): then
                nothing is sent, and another look is due.

        Raises:
            TargetCannot: something cannot be held by this target; nothing was sent.
            TargetLost: the session broke.
        """
        now = self._monotonic()
        scan = self._scanner.scan(hints)
        if interrupted():
            return Outcome((), (), None, dict(scan.skipped), again=_CHANGED_SECONDS, in_step=False)
        waiting = self._wait_for_writers(scan)
        local = keep(scan.entries, self.remote, _below(self.remote, scan.unknown) | self._not_yet(scan.entries, now))
        found = changes(local, self.remote)
        if patient:
            local, young = self._wait_for_deletes(local, found, now)
            if young is not None:
                waiting.append(young)
                found = changes(local, self.remote)
        held = self._guard.check(found, local, self.remote, scan.roots, now)
        if held is not None:
            local = keep(local, self.remote, held.paths)
            found = changes(local, self.remote)
        batches = plan(
            local,
            self.remote,
            read=self._read,
            is_dag_file=self._scanner.is_dag_file,
            case_sensitive=self.target.capabilities.case_sensitive,
        )
        failed: list[Ack] = []
        if batches:
            refuse_impossible(local, self.target.capabilities, self.target.name)
        for batch in batches:
            failed += self._apply(batch)
        changed = [ack for ack in failed if ack.reason == "changed"]
        if changed:
            waiting.append(_CHANGED_SECONDS)
        refused = [ack for ack in failed if ack.reason != "changed"]
        waiting += self._note_refusals(refused, local, now)
        not_done = {ack.path for ack in failed}
        if batches:
            self._guard.deleted({c.path for c in found if c.change == "deleted"} - not_done, now)
        if held is None and not failed and not waiting:
            self._guard.carried_out(scan.roots)
        return Outcome(
            done=tuple(c for c in found if c.path not in not_done and c.previous not in not_done) if batches else (),
            failed=tuple(refused),
            held=held,
            skipped=dict(scan.skipped),
            again=min(waiting, default=None),
            in_step=held is None and not failed and not waiting and not scan.unknown and not self._refused,
        )

    # ------------------------------------------------------------------------------------------------------ waiting

    def _wait_for_writers(self, scan: Scan) -> list[float]:
        """Seconds until files that are being written are looked at again; longer for one that never comes to rest."""
        self._unsettled_looks = self._unsettled_looks + 1 if scan.unsettled else 0
        if not scan.unsettled:
            return []
        return [min(_UNSETTLED_SECONDS * 2 ** min(self._unsettled_looks - 1, 10), _UNSETTLED_LIMIT_SECONDS)]

    def _wait_for_deletes(
        self, local: dict[str, Entry], found: list[Change], now: float
    ) -> tuple[dict[str, Entry], float | None]:
        """Keeps paths that vanished just now, and new files with them; seconds until they are due."""
        gone = {change.path for change in found if change.change == "deleted"}
        self._gone_since = {path: self._gone_since.get(path, now) for path in gone}
        due = {path: since + DELETE_SECONDS - now for path, since in self._gone_since.items()}
        young = {path for path, left in due.items() if left > 0}
        if not young:
            return local, None
        added = {change.path for change in found if change.change == "added"}
        return keep(local, self.remote, young | added), min(due[path] for path in young)

    def _not_yet(self, local: Manifest, now: float) -> set[str]:
        """Paths that were refused in the very state in which they still are, and whose next attempt is not due."""
        self._refused = {path: no for path, no in self._refused.items() if no.entry == local.get(path)}
        return {path for path, no in self._refused.items() if no.due > now}

    def _note_refusals(self, refused: list[Ack], local: Manifest, now: float) -> list[float]:
        for ack in refused:
            before = self._refused.get(ack.path)
            attempt = before.attempt + 1 if before else 0
            lasting = ack.reason in ("unsafe", "unsupported")
            wait = float("inf") if lasting else _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)]
            self._refused[ack.path] = _Refusal(local.get(ack.path), attempt, now + wait)
        return [no.due - now for no in self._refused.values() if no.due < float("inf")]

    # ------------------------------------------------------------------------------------------------------ sending

    def _read(self, entry: Entry) -> bytes:
        """The content to send; when it cannot be read now, other bytes, which the target then refuses as changed."""
        try:
            return self._scanner.read(entry)
        except (OSError, FileUnstable):
            return b"" if entry.size else b"\0"

    def _apply(self, batch: Batch) -> list[Ack]:
        """Sends one batch, notes what was acknowledged, gives back the rest."""
        entries = {entry.path: entry for entry in (*batch.folders, *(put.entry for put in batch.puts), *batch.modes)}
        acks = {ack.path: ack for ack in self.target.apply(batch)}
        for path in (*entries, *batch.deletes):
            ack = acks.get(path)
            if ack is None:
                acks[path] = Ack(path, ok=False, error="the target gave no answer for it", reason="failed")
            elif ack.ok and path in entries:
                self.remote[path] = entries[path]
                self._refused.pop(path, None)
            elif ack.ok:
                self.remote.pop(path, None)
                self._refused.pop(path, None)
        return [ack for ack in acks.values() if not ack.ok]


def keep(local: Manifest, remote: Manifest, paths: Iterable[str]) -> dict[str, Entry]:
    """`local` with these paths as they are in `remote`: there with what is above them, or not there at all."""
    kept = dict(local)
    files: set[str] = set()
    for path in paths:
        there = remote.get(path)
        if there is None:
            kept.pop(path, None)
            continue
        parent = path.rpartition("/")[0]
        while "/" in parent:
            kept[parent] = remote.get(parent, Entry(parent, "folder"))
            parent = parent.rpartition("/")[0]
        kept[path] = there
        if there.kind == "file":
            files.add(path)
    if files:
        shadowed = [path for path in kept if path not in files and _inside(path, files)]
        for path in shadowed:
            del kept[path]
    return kept


def _inside(path: str, files: set[str]) -> bool:
    parent = path.rpartition("/")[0]
    while parent:
        if parent in files:
            return True
        parent = parent.rpartition("/")[0]
    return False


def _below(remote: Manifest, unknown: Iterable[str]) -> set[str]:
    """The unknown paths, and what the target holds below them."""
    found = set(unknown)
    if found:
        found |= {path for path in remote if _inside(path, found)}
    return found
