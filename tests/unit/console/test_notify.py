"""The bell and the desktop's notifications: once when a file breaks, once when it is repaired, and only by setting."""

from __future__ import annotations

import pytest

from devenv import process
from devenv.console.console import Console
from devenv.errors import ProgramMissing
from devenv.events import VerdictReached
from devenv.settings.schema import TerminalSettings
from devenv.verdict import Problem, Verdict

from .test_console import console

BROKEN = VerdictReached(Verdict("dags/a.py", problems=(Problem("name-error", "error", "no x", "NameError"),)), 1.0)
WELL = VerdictReached(Verdict("dags/a.py"), 1.0)


def told(made: Console) -> str:
    for event in (BROKEN, BROKEN, WELL, WELL, BROKEN):
        made.report(event)
    made.close()
    return made.session.environment.stderr.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("terminal", "bell", "rings"), [(True, True, 2), (True, False, 0), (False, True, 0)])
def test_the_bell_rings_on_a_terminal_when_a_file_breaks(terminal: bool, bell: bool, rings: int) -> None:
    made = console(terminal=terminal)
    made.notify(TerminalSettings(bell=bell))
    assert told(made).count("\a") == rings


def test_a_notification_says_what_broke_and_that_it_is_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[list[str]] = []
    monkeypatch.setattr(process, "start", lambda command, **_options: shown.append(command))
    monkeypatch.setattr(process, "leave", lambda _child: None)
    made = console()
    made.notify(TerminalSettings(notify=True))
    told(made)
    assert [command[-2:] for command in shown] == [
        ["dags/a.py is broken", "NameError: no x"],
        ["dags/a.py is repaired", ""],
        ["dags/a.py is broken", "NameError: no x"],
    ]


def test_where_there_are_no_notifications_it_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(command: list[str], **_options: object) -> None:
        raise ProgramMissing(command[0])

    monkeypatch.setattr(process, "start", missing)
    made = console()
    made.notify(TerminalSettings(notify=True))
    assert told(made).count("no desktop notifications") == 1
