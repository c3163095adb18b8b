"""Events as text for a person: plain lines where no terminal is, a live display at the bottom where one is."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from devenv.console.board import Board, Item, Judged, Save
from devenv.console.render import Renderer
from devenv.console.terminal import Terminal
from devenv.events import (
    BatchSynced,
    ConnectionChanged,
    Event,
    FileSkipped,
    FileSynced,
    LogLine,
    Notice,
    Output,
    PickedUp,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    VerdictCleared,
    VerdictReached,
    WatchStarted,
)

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPINNER_ASCII = "|/-\\"
_FRAME_SECONDS = 0.1
_PROGRESS_SECONDS = 5.0
"""Without a terminal, how often a running step may say what it is doing."""
_SCHEDULER_SECONDS = 4.0
"""On a terminal, how long the line of a good save stays open for the scheduler's word."""
_KEPT_OUTPUT = 200


@dataclass
class _Running:
    title: str
    started: float
    message: str = ""
    fraction: float | None = None
    said: float = 0.0
    unsaid: bool = False
    output: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_OUTPUT))


class TextReporter:
    """Takes events from any thread and writes lines; never raises.

    Args:
        terminal: where to write.
        quiet: 1 leaves what is broken, warnings and errors; 2 nothing.
        verbose: at least 1 also shows the output of programs.
        monotonic: the clock of the display.
    """

    def __init__(
        self, terminal: Terminal, *, quiet: int = 0, verbose: int = 0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._terminal = terminal
        self._console = terminal.console()
        self._quiet = quiet
        self._verbose = verbose
        self._monotonic = monotonic
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._ticker: threading.Thread | None = None
        self._closed = False
        self._running: dict[str, _Running] = {}
        self._watching: WatchStarted | None = None
        self._files = 0
        self._lost: ConnectionChanged | None = None
        self._live: Live | None = None
        self._frame = 0
        animated = terminal.interactive and not verbose and not quiet
        self._animated = animated
        self.board = Board(_SCHEDULER_SECONDS if animated else 0.0)

    @property
    def renderer(self) -> Renderer:
        """For the width that the terminal has now."""
        return Renderer(self._console.width, self._terminal.unicode)

    def report(self, event: Event) -> None:
        """Shows an event."""
        try:
            with self._lock:
                if not self._closed:
                    self._take(event)
                    self._refresh()
        except (OSError, ValueError):  # the stream is closed or gone: there is nobody left to tell
            self._closed = True

    def show(self, lines: list[Text]) -> None:
        """Writes lines above the live display."""
        with self._lock:
            self._print(lines)

    def flush(self) -> None:
        """Writes what waits for a verdict or for the end of a burst, as far as it is due."""
        with self._lock:
            self._items(self.board.due(self._monotonic()))
            self._refresh()

    def pause(self) -> None:
        """Takes the live display away for a question, or data on the same terminal; the next event brings it back."""
        with self._lock:
            self._stop_live()

    def close(self) -> None:
        """Writes what is still open and ends the display."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._wake.notify_all()
            try:
                self._items(self.board.due(float("inf")))
                self._stop_live()
            except (OSError, ValueError):
                self._live = None

    # -- events

    def _take(self, event: Event) -> None:
        now, render = self._monotonic(), self.renderer
        match event:
            case StepStarted():
                self._running[event.name] = _Running(event.title, now)
                if not self._animated:
                    self._chat([Text.assemble(("• ", "dim"), event.title)])
            case StepProgress():
                self._progress(event, now)
            case Output():
                if (running := self._running.get(event.name)) is not None:
                    running.output.append(event.line)
                if self._verbose:
                    self._print([render.output(event.line)])
            case StepFinished():
                self._running.pop(event.name, None)
                self._chat([render.step_finished(event)])
            case StepFailed():
                running = self._running.pop(event.name, None)
                if running is not None and not self._verbose:
                    self._print([render.output(line) for line in running.output])
                self._print([render.step_failed(event)])
            case Notice():
                if event.level != "info" or not self._quiet:
                    self._print(render.notice(event))
            case _:
                self._take_watch(event, now, render)

    def _take_watch(self, event: Event, now: float, render: Renderer) -> None:
        match event:
            case WatchStarted():
                self._watching = event
                self._chat([render.watch_started(event)])
            case FileSynced():
                self._items(self.board.synced(event, now))
            case BatchSynced():
                self._chat([render.batch(event)])
            case FileSkipped():
                self._print([render.skipped(event)])
            case VerdictReached():
                self._items(self.board.judged(event, now))
            case PickedUp():
                self._items(self.board.picked_up(event))
            case VerdictCleared():
                self._items(self.board.cleared(event))
            case ConnectionChanged():
                self._connection(event)
            case LogLine():
                self._print([render.log_line(event, time.strftime("%H:%M:%S", time.localtime(event.time)))])

    def _connection(self, event: ConnectionChanged) -> None:
        before, self._lost = self._lost, None if event.state == "connected" else event
        if event.state == "lost":
            said = before is None
        elif event.state == "connected":
            said = before is not None
        else:
            said = event.attempt <= 1 and not self._animated  # the display's last line says it
        if said:
            self._print([self.renderer.connection(event)])

    def _progress(self, event: StepProgress, now: float) -> None:
        running = self._running.get(event.name)
        if running is None:
            return
        changed = running.message != event.message
        running.message, running.fraction = event.message, event.fraction
        if not self._animated and changed:
            running.unsaid = True
        # What is too early is said with the next progress, also when that says the same.
        if running.unsaid and now - max(running.said, running.started) >= _PROGRESS_SECONDS:
            running.said, running.unsaid = now, False
            self._chat([self.renderer.output(f"{running.title}: {event.message}")])

    def _items(self, items: list[Item]) -> None:
        for item in items:
            verdict = item.verdict if isinstance(item, Save | Judged) else None
            if not self._quiet or (verdict is not None and not verdict.ok):
                self._print(self.renderer.item(item))

    def _chat(self, lines: list[Text]) -> None:
        """What `-q` leaves out."""
        if not self._quiet:
            self._print(lines)

    def _print(self, lines: list[Text]) -> None:
        if self._quiet >= 2:
            return
        for line in self.renderer.final(lines):
            self._console.print(line, soft_wrap=True)

    # -- the live display

    def _refresh(self) -> None:
        if self._closed:
            return
        wanted = self._animated and bool(self._running or self._watching)
        if wanted and self._live is None:
            self._live = Live(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                get_renderable=self._region,
            )
            self._live.start()
        if self._live is not None:
            if wanted:
                self._live.refresh()
            else:
                self._stop_live()
        if (self._running and self._animated) or self.board.next_due() is not None:
            self._start_ticker()
            self._wake.notify_all()

    def _stop_live(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _region(self) -> RenderableType:
        now, render = self._monotonic(), self.renderer
        lines: list[Text] = []
        spinner = _SPINNER if self._terminal.unicode else _SPINNER_ASCII
        for running in self._running.values():
            mark = spinner[self._frame % len(spinner)]
            lines.append(
                render.step_running(mark, running.title, now - running.started, running.message, running.fraction)
            )
            if running.output:
                lines.append(render.output(running.output[-1]))
        for save in list(self.board.open.values())[-5:]:
            lines += render.save(save)[:1]
        if self._watching is not None:
            lines += render.broken_panel(self.board.broken, max(4, self._console.height // 3))
            lines.append(render.watch_line(self._watching, self._lost, len(self.board.broken)))
        return Group(*render.final(lines))

    def _start_ticker(self) -> None:
        if self._ticker is None or not self._ticker.is_alive():
            self._ticker = threading.Thread(target=self._tick, name="console", daemon=True)
            self._ticker.start()

    def _tick(self) -> None:
        """Moves the spinner and prints what has waited long enough; sleeps while there is neither."""
        with self._lock:
            while not self._closed:
                due = self.board.next_due()
                if self._running and self._animated:
                    timeout: float | None = _FRAME_SECONDS
                elif due is not None:
                    timeout = max(0.0, due - self._monotonic())
                else:
                    timeout = None
                if timeout != 0.0:
                    self._wake.wait(timeout)
                self._frame += 1
                try:
                    self._items(self.board.due(self._monotonic()))
                    self._refresh()
                except (OSError, ValueError):
                    self._closed = True
