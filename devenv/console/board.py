"""What a watch has to show: saves that wait for their verdict, what is broken now, and bursts to sum up.

Plain data and decisions, no output: an event goes in, what is to be printed comes out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from devenv.events import FileSynced, PickedUp, VerdictCleared, VerdictReached
from devenv.verdict import Problem, Verdict

VERDICT_SECONDS = 1.0
"""How long the line of a save waits for its verdict before it is printed without."""
BURST_SECONDS = 0.3
"""Silence after which verdicts that no save asked for are summed up."""
SAME_SECONDS = 2.0
"""For how long a problem that breaks many files is shown in full only once."""
LISTED = 3
"""How many verdicts of a burst are listed one by one."""


@dataclass(frozen=True)
class Save:
    """One save of one file, as far as it has got. Times are milliseconds since the save."""

    path: str
    change: Literal["added", "changed", "renamed", "deleted", "mode"]
    milliseconds: float
    previous: str = ""
    verdict: Verdict | None = None
    verdict_milliseconds: float = 0.0
    picked_up_milliseconds: float | None = None
    repaired: bool = False
    until: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Judged:
    """A verdict to show that belongs to no line of a save; `again` when its problem was just shown for another file."""

    verdict: Verdict
    milliseconds: float = 0.0
    repaired: bool = False
    again: bool = False


@dataclass(frozen=True)
class Burst:
    """Many files that were parsed and are well; `because` of one helper, or ""."""

    files: int
    because: str
    milliseconds: float


@dataclass(frozen=True)
class SchedulerSaw:
    """The scheduler parsed a file whose line was printed before."""

    path: str
    milliseconds: float


@dataclass(frozen=True)
class Gone:
    """A file is gone, and with it these DAGs."""

    path: str
    dag_ids: tuple[str, ...]


Item = Save | Judged | Burst | SchedulerSaw | Gone


class Board:
    """Decides what is printed when. Not thread-safe: the console holds a lock around it.

    Args:
        scheduler_seconds: how long the line of a good save also waits for the scheduler; 0 prints it without.
    """

    def __init__(self, scheduler_seconds: float = 0.0) -> None:
        self.scheduler_seconds = scheduler_seconds
        self.broken: dict[str, Verdict] = {}
        self.open: dict[str, Save] = {}
        self._warned: dict[str, tuple[Problem, ...]] = {}
        self._shown: dict[tuple[str, int, str], float] = {}
        self._well: list[VerdictReached] = []
        self._well_until = 0.0

    def synced(self, event: FileSynced, now: float) -> list[Item]:
        """A change is in the volume."""
        items: list[Item] = []
        if (before := self.open.pop(event.path, None)) is not None:
            items.append(before)
        save = Save(event.path, event.change, event.milliseconds, event.previous, until=now + VERDICT_SECONDS)
        if event.change in ("deleted", "mode") or not event.path.endswith((".py", ".zip")):
            return [*items, save]
        self.open[event.path] = save
        return items

    def judged(self, event: VerdictReached, now: float) -> list[Item]:
        """A file was parsed, by the agent or the scheduler."""
        verdict = event.verdict
        before = self.broken.get(verdict.file)
        repaired = verdict.ok and before is not None
        if verdict.ok:
            self.broken.pop(verdict.file, None)
        else:
            self.broken[verdict.file] = verdict
        warned = self._warned.get(verdict.file, ())
        self._warned[verdict.file] = verdict.problems
        save = self.open.get(verdict.file)
        if save is not None and save.verdict is None and verdict.speaker != "scheduler":
            return self._judged_save(save, event, now, repaired=repaired, known=verdict.problems == warned)
        if not verdict.ok:
            if before is not None and _same(before, verdict):
                return []
            return [Judged(verdict, event.milliseconds, again=self._just_shown(verdict, now))]
        if repaired or (verdict.problems and verdict.problems != warned):
            return [Judged(verdict, event.milliseconds, repaired=repaired)]
        if verdict.speaker != "scheduler":
            self._well.append(event)
            self._well_until = now + BURST_SECONDS
        return []

    def _judged_save(self, save: Save, event: VerdictReached, now: float, *, repaired: bool, known: bool) -> list[Item]:
        verdict = event.verdict
        if verdict.ok and known:
            verdict = replace(verdict, problems=())  # the same warnings as at the last save: not again
        save = replace(
            save,
            verdict=verdict,
            verdict_milliseconds=event.milliseconds or verdict.milliseconds,
            repaired=repaired,
            until=now + self.scheduler_seconds,
        )
        if verdict.ok and self.scheduler_seconds:
            self.open[save.path] = save
            return []
        self.open.pop(save.path, None)
        if not verdict.ok:
            self._just_shown(verdict, now)
        return [save]

    def picked_up(self, event: PickedUp) -> list[Item]:
        """The scheduler has parsed it too."""
        save = self.open.get(event.path)
        if save is not None and save.verdict is not None:
            del self.open[event.path]
            return [replace(save, picked_up_milliseconds=event.milliseconds)]
        return [] if event.path in self.broken else [SchedulerSaw(event.path, event.milliseconds)]

    def cleared(self, event: VerdictCleared) -> list[Item]:
        """The file is gone."""
        was_broken = self.broken.pop(event.path, None) is not None
        self._warned.pop(event.path, None)
        return [Gone(event.path, event.dag_ids)] if event.dag_ids or was_broken else []

    def due(self, now: float) -> list[Item]:
        """What has waited long enough."""
        items: list[Item] = [save for save in self.open.values() if save.until <= now]
        for save in items:
            del self.open[save.path]  # type: ignore[union-attr]
        if self._well and self._well_until <= now:
            well, self._well = self._well, []
            if len(well) <= LISTED:
                items += [Judged(event.verdict, event.milliseconds) for event in well]
            else:
                causes = {event.verdict.because for event in well}
                longest = max(event.milliseconds for event in well)
                items.append(Burst(len(well), causes.pop() if len(causes) == 1 else "", longest))
        return items

    def next_due(self) -> float | None:
        """When `due` has something to give, on the clock of `now`; None when nothing waits."""
        times = [save.until for save in self.open.values()]
        if self._well:
            times.append(self._well_until)
        return min(times, default=None)

    def _just_shown(self, verdict: Verdict, now: float) -> bool:
        error = next(problem for problem in verdict.problems if problem.severity == "error")
        key = (error.file, error.line, error.message)
        shown = self._shown.get(key)
        self._shown = {known: at for known, at in self._shown.items() if now - at < SAME_SECONDS}
        self._shown[key] = now
        return shown is not None and now - shown < SAME_SECONDS


def _same(one: Verdict, other: Verdict) -> bool:
    """Whether two broken verdicts say the same, also when the scheduler has fewer details than the agent."""

    def essence(verdict: Verdict) -> set[tuple[str, str, int]]:
        return {
            (problem.type, problem.message.strip().splitlines()[0] if problem.message.strip() else "", problem.line)
            for problem in verdict.problems
            if problem.severity == "error"
        }

    return bool(essence(one) & essence(other)) or essence(one) == essence(other)
