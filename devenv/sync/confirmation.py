"""What the scheduler itself says of the files: whether it has parsed what was saved, and what it cannot import.

All times are compared on the target's clock: a laptop's may be an hour off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from devenv.agent.rules import refused_by_airflow
from devenv.events import Event, Notice, PickedUp, VerdictCleared, VerdictReached
from devenv.sync.model import SchedulerReport
from devenv.verdict import Problem, Verdict

FAST_SECONDS = 0.25
SLOW_SECONDS = 1.0
_FAST_FOR = 10.0
_TOUCH_AFTER = (5.0, 15.0, 30.0)
_GIVE_UP_AFTER = 60.0


@dataclass
class _Awaited:
    acked: float
    """The target's clock when the file was in place."""
    saved: float
    """The monotonic clock at the save."""
    since: float
    """The monotonic clock at the acknowledgement."""
    touches: int = 0
    doubted: bool = False
    """The scheduler contradicted the agent once; the parse may have begun before the save, so another is waited for."""


class Confirmation:
    """Compares what was sent, and what the agent said of it, with the scheduler's reports.

    Args:
        is_local: whether a path is among the files that are synced.
    """

    def __init__(self, is_local: Callable[[str], bool]) -> None:
        self._is_local = is_local
        self._awaited: dict[str, _Awaited] = {}
        self._agent: dict[str, Verdict] = {}
        self._announced: dict[str, Verdict] = {}
        """Errors that were reported as the scheduler's own."""

    def sent(self, path: str, *, acked: float, saved: float, now: float) -> None:
        """A DAG file is in place, or was touched because of a helper; the scheduler is to parse it."""
        self._awaited[path] = _Awaited(acked, saved, now)

    def heard(self, verdict: Verdict) -> None:
        """The agent parsed a file."""
        self._agent[verdict.file] = verdict

    def removed(self, path: str) -> None:
        """The file is gone."""
        self._awaited.pop(path, None)
        self._agent.pop(path, None)

    @property
    def announced(self) -> tuple[str, ...]:
        """Files of the project whose errors were reported as the scheduler's own."""
        return tuple(path for path in self._announced if self._is_local(path))

    def interval(self, now: float) -> float:
        """Seconds from one report to the next."""
        fresh = any(now - awaited.since < _FAST_FOR for awaited in self._awaited.values())
        return FAST_SECONDS if fresh else SLOW_SECONDS

    def compare(self, report: SchedulerReport, now: float) -> tuple[list[Event], list[str]]:
        """What a report tells that was not known, and the files to touch so that the scheduler looks again."""
        events: list[Event] = []
        touch: list[str] = []
        for path, awaited in list(self._awaited.items()):
            error = report.errors.get(path)
            if error is not None and error.parsed_at <= awaited.acked:
                error = None  # of an earlier version
                stale = True
            else:
                stale = False
            parsed = report.parsed.get(path, 0.0)
            if error is not None or (parsed > awaited.acked and not stale):
                when = error.parsed_at if error is not None else parsed
                if self._may_be_of_the_version_before(path, when - awaited.acked, awaited):
                    touch.append(path)
                    awaited.touches += 1
                    awaited.acked = max(report.at, awaited.acked)
                    continue
                if not awaited.doubted and self._contradicts(path, error):
                    # The next parse begins after the end of this one, so it is of the version that was saved.
                    touch.append(path)
                    awaited.doubted = True
                    awaited.acked = when
                    continue
                del self._awaited[path]
                events += self._confirmed(path, error, (now - awaited.saved) * 1000)
            elif now - awaited.since > _GIVE_UP_AFTER:
                del self._awaited[path]
                events += self._unconfirmed(path)
            elif awaited.touches < len(_TOUCH_AFTER) and now - awaited.since > _TOUCH_AFTER[awaited.touches]:
                awaited.touches += 1
                touch.append(path)
        events += self._elsewhere(report)
        return events, touch

    def _may_be_of_the_version_before(self, path: str, after: float, awaited: _Awaited) -> bool:
        """Whether a parse ended so soon after the save that it may have begun before it.

        Airflow compares a file's mtime with the end of its last parse, so it would not look at this version again.
        """
        agent = self._agent.get(path)
        return agent is not None and awaited.touches == 0 and after < agent.milliseconds / 1000

    def _contradicts(self, path: str, error: Verdict | None) -> bool:
        """Whether the scheduler finds otherwise than the agent, in what Airflow itself refuses."""
        agent = self._agent.get(path)
        return agent is not None and _refused(agent) != (error is not None)

    def _confirmed(self, path: str, error: Verdict | None, milliseconds: float) -> list[Event]:
        events: list[Event] = [PickedUp(path, milliseconds)]
        agent = self._agent.get(path)
        before = self._announced.pop(path, None)
        if error is not None:
            self._announced[path] = error
            if agent is None or agent.ok:
                events.append(VerdictReached(_marked(error) if agent else error, milliseconds))
        elif agent is not None and _refused(agent):
            events.append(VerdictReached(_marked(Verdict(path, agent.dag_ids, speaker="scheduler")), milliseconds))
        elif before is not None and (agent is None or agent.ok):
            events.append(VerdictReached(_cleared(path, agent), milliseconds))
        return events

    def _unconfirmed(self, path: str) -> list[Event]:
        agent = self._agent.get(path)
        if agent is None or not agent.dag_ids:
            return []  # a helper, or a file without DAGs: the scheduler has nothing to say of it
        return [
            Notice(
                "warning", f"the scheduler has not parsed {path} for {_GIVE_UP_AFTER:.0f} s", "devenv logs scheduler"
            )
        ]

    def _elsewhere(self, report: SchedulerReport) -> list[Event]:
        """Errors of files that wait for nothing: others' files, or an import that broke by itself."""
        events: list[Event] = []
        for path, error in report.errors.items():
            if path in self._awaited:
                continue
            before = self._announced.get(path)
            if before is not None and before.problems == error.problems:
                continue
            self._announced[path] = error
            agent = self._agent.get(path)
            if agent is None:
                events.append(VerdictReached(error, 0.0))
            elif agent.ok:
                events.append(VerdictReached(_marked(error), 0.0))
        for path in [path for path in self._announced if path not in report.errors and path not in self._awaited]:
            del self._announced[path]
            agent = self._agent.get(path)
            if not self._is_local(path):
                events.append(VerdictCleared(path))
            elif agent is None or agent.ok:
                events.append(VerdictReached(_cleared(path, agent), 0.0))
        return events


def _cleared(path: str, agent: Verdict | None) -> Verdict:
    return Verdict(path, agent.dag_ids if agent is not None else (), speaker="scheduler")


def _refused(verdict: Verdict) -> bool:
    """Whether the agent expects Airflow to refuse the file; what only devenv checks, the scheduler does not see."""
    errors = (problem for problem in verdict.problems if problem.severity == "error")
    return any(refused_by_airflow(problem.rule, problem.type) for problem in errors)


def _marked(verdict: Verdict) -> Verdict:
    """A verdict of the scheduler's that the agent's contradicts, with why that may be."""
    says = "does not import" if not verdict.ok else "imports"
    why = Problem(
        rule="verdicts-differ",
        severity="info",
        message=f"the scheduler {says} this version, the agent found otherwise",
        file=verdict.file,
        hint="They may have other packages, variables or connections, or the parse took too long: "
        "compare `devenv logs scheduler` and `devenv logs agent`",
    )
    return replace(verdict, problems=(*verdict.problems, why))
