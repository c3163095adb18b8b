"""What a command writes with: data on standard output, messages on standard error, both as the flags ask."""

from __future__ import annotations

import _thread
import contextlib
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from devenv.console.render import Renderer
from devenv.console.tables import Cell, table
from devenv.console.terminal import Terminal
from devenv.errors import DevenvError, UsageError
from devenv.events import Event
from devenv.foreign_text import visible

if TYPE_CHECKING:
    from devenv.console.json_lines import JsonLines
    from devenv.console.notify import Notifier
    from devenv.console.text import TextReporter
    from devenv.environment import Session
    from devenv.settings.schema import TerminalSettings
    from devenv.sync.shown import Shown
    from devenv.verdict import Problem


class NoAnswer(UsageError):
    """A question was asked where nobody can answer: standard input is not a terminal.

    Give the answer on the command line: `--yes`.
    """

    code = "DEVENV-901"


class Console:
    """Standard output and standard error of one run.

    In text, everything that happens is a message (standard error) and what was asked for is data (standard output).
    With `-o json` both are lines of one stream on standard output, and standard error stays empty.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        environment = session.environment
        for stream in (environment.stdout, environment.stderr):
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.reconfigure(errors="replace")  # type: ignore[attr-defined]
        self.out = Terminal.of(environment.stdout, environment.variables, color=session.color)
        self.messages = Terminal.of(environment.stderr, environment.variables, color=session.color)
        self.reader_gone = False
        self.shown: Shown | None = None
        """The repository's own names of the synced folders, where they differ."""
        self._out_console = self.out.console()
        self._lock = threading.Lock()
        self._notifier: Notifier | None = None
        self._text: TextReporter | None = None
        self._json: JsonLines | None = None
        if session.output == "json":
            from devenv.console.json_lines import JsonLines

            self._json = JsonLines(environment.stdout, environment.now, self._reader_is_gone)

    def _told(self) -> TextReporter:
        """What tells a person; imported and made when there is something to tell."""
        with self._lock:
            if self._text is None:
                from devenv.console.text import TextReporter

                session = self.session
                self._text = TextReporter(
                    self.messages,
                    quiet=session.quiet,
                    verbose=session.verbose,
                    monotonic=session.environment.monotonic,
                )
            return self._text

    @property
    def json(self) -> bool:
        """Whether `-o json` was given."""
        return self._json is not None

    @property
    def renderer(self) -> Renderer:
        """For lines on standard output, in the width that it has now."""
        return Renderer(self._out_console.width, self.out.unicode)

    def report(self, event: Event) -> None:
        """The `Reporter` of this run: may be called from any thread, never raises."""
        event = self.shown.event(event) if self.shown is not None else event
        if self._json is not None:
            self._json.report(event)
        else:
            self._told().report(event)
        if self._notifier is not None:
            self._notifier.report(event)

    def print(self, *lines: str | Text) -> None:
        """Writes lines of data to standard output; with `-o json` nothing: that is what `record` is for."""
        if self._json is not None:
            return
        with self._lock:
            if self._text is not None and self.out.interactive and self.messages.interactive:
                self._text.pause()
            for line in self.renderer.final(Text(line) if isinstance(line, str) else line for line in lines):
                self._out_console.print(line, soft_wrap=True)

    def problem(self, problem: Problem) -> None:
        """Writes a problem of a DAG file to standard output, its place in the repository's own names."""
        named = self.shown.problem(problem) if self.shown is not None else problem
        self.print(*self.renderer.problem(named))

    def record(self, kind: str, data: Mapping[str, Any]) -> None:
        """With `-o json`, writes a line of type `devenv.KIND` with this data; in text nothing."""
        if self._json is not None:
            self._json.record(f"devenv.{kind}", data)

    def hint(self, text: str) -> None:
        """A next command, as a message; with `-o json`, and with `-q`, nothing."""
        if self._json is None and not self.session.quiet:
            self._told().show([Text(f"→ {text}", "cyan")])

    def table(self, columns: Iterable[str], rows: Iterable[Iterable[Cell]]) -> None:
        """Writes rows under headings to standard output, cut to the terminal's width."""
        self.print(*table(columns, rows, self._out_console.width))

    def error(self, error: DevenvError) -> None:
        """Says what failed, why, and the next command; with `-o json` as a line `devenv.error`."""
        self.close()
        message, hint, detail = (self._named(text) for text in (error.message, error.hint, error.detail))
        if self._json is not None:
            self._json.record(
                "devenv.error",
                {
                    "code": error.code,
                    "message": message,
                    "hint": hint,
                    "detail": detail,
                    "exit_code": int(error.exit_code),
                },
            )
            return
        renderer = Renderer(self.messages.console().width, self.messages.unicode)
        console = self.messages.console()
        with contextlib.suppress(OSError, ValueError):
            for line in renderer.final(renderer.error(message or "", detail, hint, error.code)):
                console.print(line, soft_wrap=True)

    def _named(self, text: str | None) -> str | None:
        """A text with the repository's own names of the synced folders."""
        return self.shown.text(text) if text and self.shown is not None else text

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there to answer a question."""
        return not self.json and self.messages.interactive and self.session.environment.stdin.isatty()

    def confirm(self, question: str, *, yes: bool = False) -> bool:
        """Asks a question whose answer is yes or no; no is what Enter means.

        Args:
            question: without the question's choices.
            yes: `--yes` was given: nothing is asked.

        Raises:
            NoAnswer: nobody can answer, and `--yes` was not given.
        """
        if yes:
            return True
        environment = self.session.environment
        if not self.can_ask:
            raise NoAnswer(f"{question} Nobody is there to answer", hint="give --yes to go on without a question")
        if self._text is not None:
            self._text.pause()
        environment.stderr.write(visible(f"{question} [y/N] "))
        environment.stderr.flush()
        return environment.stdin.readline().strip().lower() in ("y", "yes")

    def choose(self, question: str, choices: Sequence[str]) -> int | None:
        """Asks the user to choose one; None without a terminal, or when the answer is none of them.

        Args:
            question: stands above the choices.
            choices: each is shown with its number, from 1.
        """
        if not self.can_ask:
            return None
        lines = [question, *(f"  {number}  {choice}" for number, choice in enumerate(choices, start=1))]
        answer = self.ask("\n".join([*lines, "number, or Enter to leave it open: "])).strip()
        return int(answer) - 1 if answer.isdecimal() and 0 < int(answer) <= len(choices) else None

    def ask(self, prompt: str) -> str:
        """A line that is typed, with its end; "" where input has ended."""
        environment = self.session.environment
        if self._text is not None:
            self._text.pause()
        if environment.stdin is not sys.stdin:
            environment.stderr.write(visible(prompt))
            environment.stderr.flush()
            return environment.stdin.readline()
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 (`input` then has a history, and can be edited)
        try:
            return input(visible(prompt)) + "\n"
        except EOFError:
            return ""

    def notify(self, settings: TerminalSettings) -> None:
        """From now on, rings the bell and shows notifications as the settings say."""
        if settings.bell or settings.notify:
            from devenv.console.notify import Notifier

            self._notifier = Notifier(settings, self.messages, self.report)

    def close(self) -> None:
        """Ends the live display; what is still open is written."""
        if self._text is not None:
            self._text.close()

    def _reader_is_gone(self) -> None:
        """Nobody reads standard output any more: the command ends as if by Ctrl-C."""
        if not self.reader_gone:
            self.reader_gone = True
            _thread.interrupt_main()
