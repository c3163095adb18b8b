"""The sync loop: the one owner of what is known about a target, fed by messages from watcher, target and person."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devenv.errors import MissingError, PlatformError
from devenv.events import ConnectionChanged, Notice, Reporter, WatchStarted
from devenv.project import Project
from devenv.sync.announce import Announcer
from devenv.sync.guard import Guard, Held, take_word
from devenv.sync.ignore import Ignore
from devenv.sync.mirror import Mirror, Outcome
from devenv.sync.model import Hint, JobIsWriting, Listener, Target, TargetLost, Watcher
from devenv.sync.parse_again import take_request
from devenv.sync.plan import Change, TargetCannot
from devenv.sync.roots import require_dag_folder, roots_of
from devenv.sync.scan import Scanner
from devenv.sync.verdicts import Verdicts
from devenv.sync.watch import GitIndex
from devenv.verdict import Verdict

OpenTarget = Callable[[Listener], Target]

RESCAN_SECONDS = 3.0
"""The safety net: everything is looked at at least this often, or less where a look is dear (`_RESCAN_SHARE`)."""
_RESCAN_SHARE = 200
"""A full look may take a 200th of the time: half a percent of a core."""
_REST_SHARE = 4
"""After a full look, the next one waits for this many times as long as it took."""
_BACK_OFF = (0.2, 0.5, 1.0, 2.0, 4.0, 5.0)
_LASTING_SECONDS = 10.0
"""A session that lived this long was a good one: the back-off begins anew."""
_TICK_SECONDS = 0.25
_GIT_SECONDS = 0.02
_ROUNDS = 10


@dataclass(frozen=True)
class _Noticed:
    hint: Hint


@dataclass(frozen=True)
class _Said:
    verdict: Verdict
    at: float


@dataclass(frozen=True)
class _Lost:
    session: int
    reason: str


@dataclass(frozen=True)
class _Answered:
    held: Held
    yes: bool


@dataclass(frozen=True)
class _WatcherFailed:
    reason: str


_Message = _Noticed | _Said | _Lost | _Answered | _WatcherFailed


@dataclass(frozen=True)
class _Ear:
    """What a target talks to; only enqueues."""

    messages: queue.SimpleQueue[_Message]
    session: int
    monotonic: Callable[[], float]

    def verdict(self, verdict: Verdict) -> None:
        self.messages.put(_Said(verdict, self.monotonic()))

    def lost(self, reason: str) -> None:
        self.messages.put(_Lost(self.session, reason))


@dataclass
class _Due:
    """When the loop has something to do by itself, on the monotonic clock."""

    look: float = 0.0
    """At paths that wait: being written, refused, gone too shortly to delete."""
    full: float = 0.0
    report: float = 0.0
    since: float = 0.0
    """The first sign of the change that waits."""
    look_seconds: float = 0.0
    """How long the last full look took that found nothing."""
    rest_until: float = 0.0
    """No full look before."""


@dataclass
class _Connection:
    """The sessions to the target.

    Attributes:
        count: how many were opened; messages of earlier ones are passed over.
        started: one was in step.
        open: the last one is.
    """

    count: int = 0
    started: bool = False
    open: bool = False


@dataclass
class _Deletes:
    """Deletes that look like an accident.

    Attributes:
        guard: recognises them.
        confirm: asks a person; None where nobody can be asked.
        asked: the paths that were asked about last.
    """

    guard: Guard
    confirm: Callable[[str], bool] | None
    asked: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True)
class Result:
    """What `SyncLoop.once` found or did.

    Attributes:
        changes: what differed; acknowledged unless it was a rehearsal.
        failed: path → why it could not be written.
        in_step: the target now holds what the folders do.
        files: how many files the target holds.
    """

    changes: Sequence[Change]
    failed: dict[str, str]
    in_step: bool
    files: int


class SyncLoop:
    """Keeps a target in step with the project's folders.

    Args:
        project: whose folders.
        open_target: opens a session; called again after each that is lost.
        reporter: takes the events.
        watcher: hints at changes; None where only `once` is called.
        confirm_deletes: asks a person a question about deletes that look like an accident; called in a thread of its
            own while watching, so that everything else goes on. None: nobody can be asked.
        stop: ends `run`.
        monotonic: seconds.
    """

    def __init__(
        self,
        project: Project,
        open_target: OpenTarget,
        reporter: Reporter,
        watcher: Watcher | None = None,
        *,
        confirm_deletes: Callable[[str], bool] | None = None,
        stop: threading.Event | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._project = project
        self._open_target = open_target
        self._report = reporter
        self._watcher = watcher
        self._stop = stop or threading.Event()
        self._monotonic = monotonic
        roots = roots_of(project)
        self._scanner = Scanner(roots, Ignore(project.settings.sync.ignore), project.environment.now)
        self._deletes = _Deletes(Guard(roots), confirm_deletes)
        self._git = GitIndex(project.folder)
        self._messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._connection = _Connection()
        self._due = _Due()
        self._announcer = Announcer(reporter)
        self._verdicts = Verdicts(reporter)

    @property
    def broken(self) -> dict[str, Verdict]:
        """The DAG files that the agent cannot parse now."""
        return self._verdicts.broken

    def end(self) -> None:
        """Ends `run`, from any thread."""
        self._stop.set()

    def reopen(self, reason: str) -> None:
        """Opens another session in place of this one, from any thread: the environment was made anew."""
        self._messages.put(_Lost(self._connection.count, reason))

    # ---------------------------------------------------------------------------------------------------------- once

    def once(self, *, rehearse: bool = False) -> Result:
        """Brings the target in step once.

        Args:
            rehearse: only say what differs.

        Raises:
            DagFolderMissing: there is no DAG folder.
            DeletesHeld: deletes look like an accident and nobody said yes; the rest was sent.
            TargetCannot: the target cannot hold this folder; nothing was sent.
            TargetLost: the session broke.
        """
        require_dag_folder(self._project)
        began = self._monotonic()
        target = self._open_target(self._ear())
        try:
            mirror = Mirror(target, self._scanner, self._deletes.guard, self._monotonic)
            if rehearse:
                found, same, scan = mirror.differences()
                self._announcer.skipped(scan.skipped)
                return Result(found, {}, in_step=same, files=mirror.files())
            return self._once(mirror, began)
        finally:
            target.close()

    def _once(self, mirror: Mirror, began: float) -> Result:
        done: list[Change] = []
        failed: dict[str, str] = {}
        for _ in range(_ROUNDS):
            outcome = mirror.step(patient=False)
            done += outcome.done
            failed = {ack.path: ack.error for ack in outcome.failed}
            self._tell(outcome, mirror, began)
            if outcome.held is not None:
                confirm = self._deletes.confirm
                if confirm is None or not confirm(outcome.held.question):
                    raise outcome.held.error()
                self._deletes.guard.confirm(outcome.held.paths)
            elif outcome.again is None or failed:
                break
            else:
                self._stop.wait(outcome.again)
        self._tell_messages()
        return Result(done, failed, in_step=outcome.in_step, files=mirror.files())

    def _tell_messages(self) -> None:
        while not self._messages.empty():
            message = self._messages.get()
            if isinstance(message, _Said):
                self._verdicts.reached(message.verdict, message.at)

    # ----------------------------------------------------------------------------------------------------------- run

    def run(self) -> None:
        """Watches until `stop` is set; sessions that break are made again.

        Raises:
            DagFolderMissing: there is no DAG folder.
            DevenvError: the first session cannot be opened, or a later one is refused for good.
        """
        require_dag_folder(self._project)
        pump = threading.Thread(target=self._pump, name="watcher", daemon=True)
        pump.start()
        attempt = 0
        try:
            while not self._stop.is_set():
                try:
                    target = self._open_target(self._ear())
                except (TargetLost, PlatformError, MissingError, JobIsWriting, OSError) as error:
                    if not self._connection.started and not isinstance(error, TargetLost):
                        raise
                    attempt = self._back_off(attempt, str(error))
                    continue
                opened = self._monotonic()
                try:
                    self._serve(target)
                except TargetLost as error:
                    lived = self._monotonic() - opened
                    attempt = self._back_off(0 if lived > _LASTING_SECONDS else attempt, str(error))
                finally:
                    target.close()
        finally:
            self._stop.set()
            if self._watcher is not None:
                self._watcher.close()
            pump.join(5)

    def _back_off(self, attempt: int, reason: str) -> int:
        """Says once that the session is gone and is being made again, and waits; the next attempt's number."""
        if self._connection.open or (attempt == 0 and not self._connection.started):
            self._report(ConnectionChanged("lost", reason))
            self._report(ConnectionChanged("reconnecting", reason, 1))
        self._connection.open = False
        self._stop.wait(_BACK_OFF[min(attempt, len(_BACK_OFF) - 1)])
        return attempt + 1

    def _pump(self) -> None:
        """The watcher's thread: hints become messages, once git is done."""
        if self._watcher is None:
            return
        try:
            while not self._stop.is_set():
                for hint in self._watcher.hints(1.0):
                    waited = self._git.wait(self._stop)
                    self._messages.put(_Noticed(Hint(None, hint.at) if waited else hint))
        except Exception as error:  # noqa: BLE001 (the regular full look goes on without the watcher)
            self._messages.put(_WatcherFailed(f"{type(error).__name__}: {error}"))

    def _serve(self, target: Target) -> None:
        """One session, from the comparison of everything to its end."""
        began = self._monotonic()
        self._due = _Due(report=began, look_seconds=self._due.look_seconds, rest_until=self._due.rest_until)
        mirror = Mirror(target, self._scanner, self._deletes.guard, self._monotonic)
        self._git.wait(self._stop)
        self._look(mirror, None, began)
        if self._connection.started:
            self._report(ConnectionChanged("connected"))
        else:
            self._connection.started = True
            folders = ", ".join(str(root.folder) for root in roots_of(self._project))
            watcher = self._watcher.name if self._watcher else ""
            self._report(
                WatchStarted(folders, mirror.files(), target.name, watcher, max(0.0, self._monotonic() - began))
            )
            if target.capabilities.note:
                self._report(Notice("info", target.capabilities.note))
        self._connection.open = True
        while not self._stop.is_set():
            self._turn(mirror)

    def _turn(self, mirror: Mirror) -> None:
        """Waits for messages or for what is due, and acts on it."""
        due = self._due
        asks = mirror.target.capabilities.scheduler
        times = [due.full, *([due.look] if due.look else []), *([due.report] if asks else [])]
        hints = self._take(max(0.0, min(min(times) - self._monotonic(), _TICK_SECONDS)))
        now = self._monotonic()
        if hints:
            everything = bool(due.look) or any(hint.paths is None for hint in hints)
            paths = None if everything else {path for hint in hints for path in hint.paths or ()}
            self._look(mirror, paths, min([hint.at for hint in hints] + ([due.since] if due.look else [])))
        elif due.look and now >= due.look:
            self._look(mirror, None, due.since)
        if now >= due.full:
            word = take_word(self._project.state_folder)
            if word and self._deletes.asked:
                self._deletes.guard.confirm(self._deletes.asked)
            self._verdicts.forget_old(now)
            self._look(mirror, None, now)
        if asks and take_request(self._project.state_folder):
            self._verdicts.parse_again(mirror.target)
        if asks and now >= due.report:
            wait = self._verdicts.compare(mirror.target, self._monotonic())
            self._due.report = self._monotonic() + wait

    def _take(self, timeout: float) -> list[Hint]:
        """The messages of the next `timeout` seconds, up to the first; hints are handed back."""
        hints: list[Hint] = []
        with contextlib.suppress(queue.Empty):
            message = self._messages.get(timeout=timeout) if timeout else self._messages.get_nowait()
            while True:
                self._on_message(message, hints)
                message = self._messages.get_nowait()
        return hints

    def _on_message(self, message: _Message, hints: list[Hint]) -> None:
        if isinstance(message, _Noticed):
            hints.append(message.hint)
        elif isinstance(message, _Said):
            self._verdicts.reached(message.verdict, message.at)
        elif isinstance(message, _Lost):
            if message.session == self._connection.count:
                raise TargetLost(message.reason)
        elif isinstance(message, _Answered):
            if message.yes:
                self._deletes.guard.confirm(message.held.paths)
                hints.append(Hint(None, self._monotonic()))
        else:
            self._report(
                Notice("warning", f"The watcher failed ({message.reason}); changes are now noticed by regular looks")
            )

    # ----------------------------------------------------------------------------------------------------- one look

    def _look(self, mirror: Mirror, paths: set[Path] | None, since: float) -> None:
        began = self._monotonic()
        if paths is None and began < self._due.rest_until:
            self._due.look, self._due.since = self._due.rest_until, since
            return
        if self._git.busy():  # half a checkout is neither sent nor taken for deletes
            self._due.look, self._due.since = began + _GIT_SECONDS, since
            self._plan_full_look(began)
            return
        try:
            outcome = mirror.step(paths, interrupted=self._git.busy)
        except TargetCannot as error:
            self._announcer.cannot(error)
            self._due.look, self._due.since = 0.0, 0.0
            self._plan_full_look(began)
            return
        self._due.look, self._due.since = 0.0, 0.0
        if outcome.again is not None:
            self._due.look, self._due.since = self._monotonic() + outcome.again, since
        if paths is None:
            ended = self._monotonic()
            if not outcome.done:
                self._due.look_seconds = ended - began
                self._due.rest_until = ended + _REST_SHARE * self._due.look_seconds
            self._plan_full_look(ended)
        self._tell(outcome, mirror, since)
        if outcome.held is not None:
            self._ask(outcome.held)
        else:
            self._deletes.asked = frozenset()

    def _plan_full_look(self, now: float) -> None:
        self._due.full = now + max(RESCAN_SECONDS, _RESCAN_SHARE * self._due.look_seconds)

    def _ask(self, held: Held) -> None:
        """Says, once for each set of files, that deletes are held; asks in a thread of its own."""
        if held.paths == self._deletes.asked:
            return
        self._deletes.asked = held.paths
        self._report(Notice("warning", held.error().message, held.error().hint or ""))
        confirm = self._deletes.confirm
        if confirm is None:
            return

        def ask() -> None:
            self._messages.put(_Answered(held, yes=confirm(held.question)))

        threading.Thread(target=ask, name="question about deletes", daemon=True).start()

    # ---------------------------------------------------------------------------------------------------- the events

    def _tell(self, outcome: Outcome, mirror: Mirror, since: float) -> None:
        now = self._monotonic()
        self._announcer.outcome(outcome, mirror, (now - since) * 1000)
        if not outcome.done:
            return
        asks = mirror.target.capabilities.scheduler
        acked = mirror.target.clock() - (self._monotonic() - now) if asks else 0.0
        for change in outcome.done:
            judged = asks and self._scanner.is_dag_file(change.path)
            self._verdicts.sent(change, acked=acked, saved=since, now=now, judged=judged)

    def _ear(self) -> Listener:
        self._connection.count += 1
        return _Ear(self._messages, self._connection.count, self._monotonic)
