"""What was announced about the folders and the target, so that it is announced once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from devenv.events import BatchSynced, Event, FileSkipped, FileSynced, Notice, Reporter
from devenv.sync.mirror import Mirror, Outcome
from devenv.sync.plan import TargetCannot, size_text

LISTED = 20
"""A batch with more changes than this is one line."""
_WARN_SHARE = 0.8
_MANY_FILES, _MANY_BYTES = 5_000, 100 * 1_000_000
"""Above either, a sync is large for a folder of DAG files."""


class Announcer:
    """Reports what a look at the folders found and did.

    Args:
        report: takes the events.
    """

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._skipped: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._cannot = ""
        self._near_limit = False

    def outcome(self, outcome: Outcome, mirror: Mirror, milliseconds: float) -> None:
        """Reports the changes of one look, and what could not be written.

        Args:
            outcome: of the look.
            mirror: for how full the target is.
            milliseconds: since the first sign of the changes.
        """
        for event in _synced(outcome, milliseconds):
            self._report(event)
        self.skipped(outcome.skipped)
        self._tell_refused(outcome)
        self._cannot = ""
        if outcome.done:
            self._warn_near_limit(mirror)
            self._warn_heavy(outcome)

    def skipped(self, skipped: Mapping[str, str]) -> None:
        """Reports files that are not synced, and why."""
        for path, reason in skipped.items():
            if self._skipped.get(path) != reason:
                self._report(FileSkipped(path, reason))
        self._skipped = dict(skipped)

    def cannot(self, error: TargetCannot) -> None:
        """Reports that the target cannot hold the folders."""
        if error.message != self._cannot:
            self._cannot = error.message
            self._report(Notice("error", error.message, error.hint or ""))

    def _tell_refused(self, outcome: Outcome) -> None:
        for ack in outcome.failed:
            if self._refused.get(ack.path) != ack.error:
                self._refused[ack.path] = ack.error
                retry = "" if ack.reason in ("unsafe", "unsupported") else "devenv tries again by itself"
                self._report(Notice("error", f"{ack.path} was not written: {ack.error}", retry))
        for change in outcome.done:
            self._refused.pop(change.path, None)

    def _warn_near_limit(self, mirror: Mirror) -> None:
        limit = mirror.target.capabilities.max_total_bytes
        if limit is None:
            return
        total = sum(entry.size for entry in mirror.remote.values())
        near = total > _WARN_SHARE * limit
        if near and not self._near_limit:
            share = f"{total / limit:.0%} full: {size_text(total)} of {size_text(limit)}"
            self._report(Notice("warning", f"{mirror.target.name} is {share}"))
        self._near_limit = near

    def _warn_heavy(self, outcome: Outcome) -> None:
        """Names what weighs most in a sync that is large for DAG files."""
        sent = [change for change in outcome.done if change.change in ("added", "changed")]
        total = sum(change.size for change in sent)
        if len(sent) <= _MANY_FILES and total <= _MANY_BYTES:
            return
        by_files = len(sent) > _MANY_FILES
        weights: Counter[str] = Counter()
        for change in sent:
            weights["/".join(change.path.split("/")[:2])] += 1 if by_files else change.size
        path, weight = weights.most_common(1)[0]
        share = f"{weight:,} files" if by_files else size_text(weight)
        self._report(
            Notice(
                "warning",
                f"{len(sent):,} files with {size_text(total)} were sent; {share} of it is {path}",
                f'set sync.ignore = ["{path.partition("/")[2] or path}"] in devenv.toml, if Airflow does not need it',
            )
        )


def _synced(outcome: Outcome, milliseconds: float) -> list[Event]:
    if len(outcome.done) <= LISTED:
        return [FileSynced(c.path, c.change, c.size, milliseconds, c.previous) for c in outcome.done]
    kinds = [change.change for change in outcome.done]
    return [
        BatchSynced(
            added=kinds.count("added"),
            changed=kinds.count("changed") + kinds.count("mode") + kinds.count("renamed"),
            deleted=kinds.count("deleted"),
            size=sum(change.size for change in outcome.done if change.change in ("added", "changed")),
            milliseconds=milliseconds,
        )
    ]
