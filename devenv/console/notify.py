"""The terminal's bell and the desktop's notifications, as `[terminal]` asks."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable

from devenv import process
from devenv.console.terminal import Terminal
from devenv.errors import DevenvError
from devenv.events import Event, Notice, VerdictReached
from devenv.settings.schema import TerminalSettings
from devenv.verdict import Verdict


class Notifier:
    """Watches the verdicts for a file that breaks or is repaired; never raises."""

    def __init__(self, settings: TerminalSettings, terminal: Terminal, report: Callable[[Event], None]) -> None:
        self._settings = settings
        self._terminal = terminal
        self._report = report
        self._broken: set[str] = set()

    def report(self, event: Event) -> None:
        """Takes an event."""
        if not isinstance(event, VerdictReached):
            return
        verdict = event.verdict
        if not verdict.ok and verdict.file not in self._broken:
            self._broken.add(verdict.file)
            if self._settings.bell and self._terminal.interactive:
                with contextlib.suppress(OSError, ValueError):
                    self._terminal.stream.write("\a")
                    self._terminal.stream.flush()
            self._show(f"{verdict.file} is broken", _first_error(verdict))
        elif verdict.ok and verdict.file in self._broken:
            self._broken.discard(verdict.file)
            self._show(f"{verdict.file} is repaired", "")

    def _show(self, title: str, text: str) -> None:
        if not self._settings.notify:
            return
        if sys.platform == "darwin":
            # The texts are arguments of the script, not part of it: a DAG file's error cannot become AppleScript.
            script = "on run {title, body}\ndisplay notification body with title title\nend run"
            command = ["osascript", "-e", script, title, text]
        else:
            command = ["notify-send", "--app-name=devenv", "--", title, text]
        try:
            process.leave(process.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        except (DevenvError, OSError) as error:
            self._settings = self._settings.model_copy(update={"notify": False})
            self._report(Notice("warning", f"no desktop notifications: {error}"))


def _first_error(verdict: Verdict) -> str:
    error = next(problem for problem in verdict.problems if problem.severity == "error")
    return f"{error.type or error.rule}: {error.message}"[:200]
