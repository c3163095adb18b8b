"""What is known of the DAG files: the agent's verdicts, the scheduler's, and when each file was saved."""

from __future__ import annotations

from devenv.events import Reporter, VerdictCleared, VerdictReached
from devenv.sync.confirmation import Confirmation
from devenv.sync.model import Target
from devenv.sync.plan import Change
from devenv.verdict import Verdict

_REMEMBER_SECONDS = 120.0


class Verdicts:
    """Reports verdicts as they change. All times are on the monotonic clock.

    Args:
        report: takes the events.
    """

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._saved: dict[str, float] = {}
        self._agent: dict[str, Verdict] = {}
        self._flipped: set[str] = set()
        self._confirmation = Confirmation(lambda path: path in self._agent)

    @property
    def broken(self) -> dict[str, Verdict]:
        """The DAG files that the agent cannot parse now."""
        return {path: verdict for path, verdict in list(self._agent.items()) if not verdict.ok}

    def sent(self, change: Change, *, acked: float, saved: float, now: float, judged: bool) -> None:
        """A change is in place.

        Args:
            change: as it was acknowledged.
            acked: when, on the target's clock.
            saved: the first sign of it.
            now: when it was acknowledged.
            judged: the scheduler will parse the file.
        """
        for gone in (change.path if change.change == "deleted" else "", change.previous):
            if gone:
                self._confirmation.removed(gone)
                verdict = self._agent.pop(gone, None)
                if verdict is not None:
                    dag_ids = verdict.dag_ids if change.change == "deleted" else ()
                    self._report(VerdictCleared(gone, dag_ids))
        if change.change != "deleted":
            self._saved[change.path] = saved
            if judged:
                self._confirmation.sent(change.path, acked=acked, saved=saved, now=now)

    def reached(self, verdict: Verdict, at: float) -> None:
        """The agent has parsed a file."""
        before = self._agent.get(verdict.file)
        saved = self._saved.get(verdict.because or verdict.file)
        self._agent[verdict.file] = verdict
        self._confirmation.heard(verdict)
        if saved is None and before is not None and _content(before) == _content(verdict):
            return  # a new session repeats what is known
        if saved is None and before is not None and before.ok != verdict.ok:
            self._flipped.add(verdict.file)  # by something outside of the file, so the scheduler must look again
        if verdict.because and saved is not None:  # the agent touched this file, so the scheduler parses it too
            self._confirmation.sent(verdict.file, acked=verdict.parsed_at, saved=saved, now=at)
        self._report(VerdictReached(verdict, (at - saved) * 1000 if saved is not None else 0.0))

    def compare(self, target: Target, now: float) -> float:
        """Asks the scheduler, reports what differs, and returns the seconds until it is to be asked again.

        Raises:
            TargetLost: the session broke.
        """
        if self._flipped:
            flipped, self._flipped = sorted(self._flipped), set()
            target.touch(flipped)
            acked = target.clock()
            for path in flipped:
                self._confirmation.sent(path, acked=acked, saved=now, now=now)
        events, touch = self._confirmation.compare(target.scheduler(), now)
        for event in events:
            self._report(event)
        if touch:
            target.touch(touch)
        return self._confirmation.interval(now)

    def parse_again(self, target: Target) -> None:
        """Has all files parsed again, the broken ones first: something outside of them has changed.

        Raises:
            TargetLost: the session broke.
        """
        broken = sorted({*self.broken, *self._confirmation.announced})
        if broken:
            target.parse(broken, wait=False)
            self._flipped.update(path for path in broken if path in self._agent)
        target.parse([], wait=False)

    def forget_old(self, now: float) -> None:
        """Forgets when files were saved long ago: their verdicts are no answer to that save any more."""
        self._saved = {path: at for path, at in self._saved.items() if now - at < _REMEMBER_SECONDS}


def _content(verdict: Verdict) -> tuple[object, ...]:
    return (verdict.dag_ids, verdict.problems)
