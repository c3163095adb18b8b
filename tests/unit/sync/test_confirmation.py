from __future__ import annotations

import pytest

from devenv.events import Notice, PickedUp, VerdictCleared, VerdictReached
from devenv.sync.confirmation import FAST_SECONDS, SLOW_SECONDS, Confirmation
from devenv.sync.model import SchedulerReport
from devenv.verdict import Problem, Verdict

PATH = "dags/a.py"
ACKED = 5_000.0
"""On the target's clock, an hour and more from the monotonic one."""


def broken(at: float, message: str = "No module named 'x'", speaker: str = "scheduler") -> Verdict:
    return Verdict(PATH, problems=(Problem("import-error", "error", message),), speaker=speaker, parsed_at=at)


def waiting(agent: Verdict | None = None) -> Confirmation:
    confirmation = Confirmation(lambda path: path == PATH)
    if agent:
        confirmation.heard(agent)
    confirmation.sent(PATH, acked=ACKED, saved=99.0, now=100.0)
    return confirmation


def report(*, parsed: float | None = None, error: Verdict | None = None, at: float = ACKED) -> SchedulerReport:
    return SchedulerReport({PATH: error} if error else {}, {PATH: parsed} if parsed else {}, at)


def test_picked_up_is_a_parse_after_the_acknowledgement() -> None:
    confirmation = waiting()
    assert confirmation.compare(report(parsed=ACKED - 1), 100.5) == ([], [])
    assert confirmation.compare(report(parsed=ACKED + 1), 101.0) == ([PickedUp(PATH, 2000.0)], [])
    assert confirmation.compare(report(parsed=ACKED + 1), 102.0) == ([], [])


def test_an_error_of_the_version_before_confirms_nothing() -> None:
    confirmation = waiting(Verdict(PATH))
    assert confirmation.compare(report(parsed=ACKED + 1, error=broken(ACKED - 1)), 101.0) == ([], [])
    assert confirmation.compare(report(parsed=ACKED + 1), 102.0)[0] == [PickedUp(PATH, 3000.0)]


def test_both_find_it_broken() -> None:
    confirmation = waiting(broken(ACKED, speaker="agent"))
    assert confirmation.compare(report(error=broken(ACKED + 1)), 101.0)[0] == [PickedUp(PATH, 2000.0)]


def test_they_disagree_and_why_that_may_be() -> None:
    confirmation = waiting(Verdict(PATH, ("one",)))
    assert confirmation.compare(report(error=broken(ACKED + 1)), 101.0) == ([], [PATH])
    picked, verdict = confirmation.compare(report(error=broken(ACKED + 2)), 102.0)[0]
    assert isinstance(verdict, VerdictReached)
    assert not verdict.verdict.ok
    assert [problem.rule for problem in verdict.verdict.problems] == ["import-error", "verdicts-differ"]
    assert "other packages, variables or connections" in verdict.verdict.problems[1].hint

    confirmation = waiting(broken(ACKED, speaker="agent"))
    assert confirmation.compare(report(parsed=ACKED + 1), 101.0) == ([], [PATH])
    picked, verdict = confirmation.compare(report(parsed=ACKED + 2), 102.0)[0]
    assert isinstance(picked, PickedUp)
    assert verdict.verdict.ok
    assert verdict.verdict.problems[0].message == "the scheduler imports this version, the agent found otherwise"


def test_a_repair_is_told_when_only_the_scheduler_found_it_broken() -> None:
    confirmation = waiting(Verdict(PATH, ("one",)))
    confirmation.compare(report(error=broken(ACKED + 1)), 101.0)
    confirmation.compare(report(error=broken(ACKED + 2)), 102.0)
    confirmation.sent(PATH, acked=ACKED + 10, saved=109.0, now=110.0)
    picked, repaired = confirmation.compare(report(parsed=ACKED + 11), 111.0)[0]
    assert isinstance(picked, PickedUp)
    assert repaired.verdict.ok
    assert repaired.verdict.speaker == "scheduler"


def test_errors_of_other_files_come_once_and_go() -> None:
    confirmation = Confirmation(lambda path: False)
    [reached] = confirmation.compare(report(error=broken(1.0)), 1.0)[0]
    assert reached.verdict.problems[0].message == "No module named 'x'"
    assert confirmation.compare(report(error=broken(2.0)), 2.0)[0] == []
    assert len(confirmation.compare(report(error=broken(3.0, "another")), 3.0)[0]) == 1
    assert confirmation.compare(report(), 4.0)[0] == [VerdictCleared(PATH)]


def test_an_unconfirmed_file_is_touched_a_few_times_and_then_given_up() -> None:
    confirmation = waiting(Verdict(PATH, ("one",)))
    touched = [confirmation.compare(report(), 100.0 + second)[1] for second in range(60)]
    assert [second for second, paths in enumerate(touched) if paths] == [6, 16, 31]
    [notice], _ = confirmation.compare(report(), 161.0)
    assert isinstance(notice, Notice)
    assert notice.message == "the scheduler has not parsed dags/a.py for 60 s"
    assert confirmation.compare(report(), 162.0) == ([], [])


def test_a_parse_that_may_have_begun_before_the_save_is_repeated() -> None:
    confirmation = waiting(Verdict(PATH, ("one",), milliseconds=800.0))
    events, touched = confirmation.compare(report(parsed=ACKED + 0.2, at=ACKED + 0.3), 100.5)
    assert (events, touched) == ([], [PATH])
    assert confirmation.compare(report(parsed=ACKED + 0.2, at=ACKED + 0.6), 100.8) == ([], [])
    assert confirmation.compare(report(parsed=ACKED + 1.2), 101.5)[0] == [PickedUp(PATH, 2500.0)]


def test_it_asks_often_only_after_a_save() -> None:
    confirmation = waiting()
    assert confirmation.interval(101.0) == FAST_SECONDS
    assert confirmation.interval(120.0) == SLOW_SECONDS
    confirmation.removed(PATH)
    assert confirmation.interval(101.0) == SLOW_SECONDS


def test_a_parse_of_the_version_before_that_ends_late_is_no_repair() -> None:
    """In 2.x a broken file never advances `last_parsed_time`, so what advances it once may be the version before."""
    confirmation = waiting(broken(ACKED, speaker="agent"))
    assert confirmation.compare(report(parsed=ACKED + 3), 103.0) == ([], [PATH])
    for second in range(4, 50):
        events, _ = confirmation.compare(report(parsed=ACKED + 3), 100.0 + second)
        assert not [event for event in events if isinstance(event, VerdictReached)]
    assert confirmation.compare(report(error=broken(ACKED + 51)), 151.0)[0] == [PickedUp(PATH, 52_000.0)]


def test_an_error_of_the_version_before_that_comes_late_does_not_break_the_repaired_file() -> None:
    confirmation = waiting(Verdict(PATH, ("one",)))
    assert confirmation.compare(report(error=broken(ACKED + 3)), 103.0) == ([], [PATH])
    assert confirmation.compare(report(parsed=ACKED + 4), 104.0)[0] == [PickedUp(PATH, 5000.0)]


@pytest.mark.parametrize("rule", ["duplicate-dag-id", "policy-retries", "slow-top-level"])
def test_what_only_devenv_checks_is_not_repaired_by_the_scheduler(rule: str) -> None:
    found = Verdict(PATH, ("one",), (Problem(rule, "error", "is also defined in dags/b.py"),))
    confirmation = waiting(found)
    assert confirmation.compare(report(parsed=ACKED + 1), 101.0)[0] == [PickedUp(PATH, 2000.0)]
    assert confirmation.compare(report(parsed=ACKED + 30), 130.0) == ([], [])
