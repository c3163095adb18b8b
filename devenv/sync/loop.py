"""The sync loop: the one owner of what is known about a target, fed by messages from watcher, target and person."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devenv.errors import MissingError, PlatformError
from devenv.events import (
    BatchSynced,
    ConnectionChanged,
    Event,
    FileSkipped,
    FileSynced,
    Notice,
    Reporter,
    VerdictCleared,
    VerdictReached,
    WatchStarted,
)
from devenv.project import Project
from devenv.sync.confirmation import Confirmation
from devenv.sync.guard import Guard, Held, take_word
from devenv.sync.ignore import Ignore
from devenv.sync.mirror import Mirror, Outcome
from devenv.sync.model import Hint, JobIsWriting, Listener, Target, TargetLost, Watcher
from devenv.sync.plan import Change, TargetCannot, size_text
from devenv.sync.roots import require_dag_folder, roots_of
from devenv.sync.scan import Scanner
from devenv.sync.watch import GitIndex
from devenv.verdict import Verdict

OpenTarget = Callable[[Listener], Target]

LISTED = 20
"""A batch with more changes than this is told as one line."""
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
_REMEMBER_SECONDS = 120.0
_ROUNDS = 10
_WARN_SHARE = 0.8


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
        self._confirm_deletes = confirm_deletes
        self._stop = stop or threading.Event()
        self._monotonic = monotonic
        roots = roots_of(project)
        self._scanner = Scanner(roots, Ignore(project.settings.sync.ignore), project.environment.now)
        self._guard = Guard(roots)
        self._git = GitIndex(project.folder)
        self._messages: queue.SimpleQueue[_Message] = queue.SimpleQueue()
        self._sessions = 0
        self._due = _Due()
        self._look_seconds = 0.0
        self._rest_until = 0.0
        self._saved: dict[str, float] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._skipped: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._asked: frozenset[str] = frozenset()
        self._cannot = ""
        self._near_limit = False
        self._confirmation = Confirmation(lambda path: path in self._verdicts)
        self._started = False
        self._connected = False

    @property
    def broken(self) -> dict[str, Verdict]:
        """The DAG files that the agent cannot parse now."""
        return {path: verdict for path, verdict in list(self._verdicts.items()) if not verdict.ok}

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
            mirror = Mirror(target, self._scanner, self._guard, self._monotonic)
            if rehearse:
                found, same, scan = mirror.differences()
                self._tell_skipped(scan.skipped)
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
                if self._confirm_deletes is None or not self._confirm_deletes(outcome.held.question):
                    raise outcome.held.error()
                self._guard.confirm(outcome.held.paths)
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
                self._on_verdict(message)

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
                    if not self._started and not isinstance(error, TargetLost):
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
        if self._connected or (attempt == 0 and not self._started):
            self._report(ConnectionChanged("lost", reason))
            self._report(ConnectionChanged("reconnecting", reason, 1))
        self._connected = False
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
        self._due = _Due(report=began)
        mirror = Mirror(target, self._scanner, self._guard, self._monotonic)
        self._git.wait(self._stop)
        self._look(mirror, None, began)
        if self._started:
            self._report(ConnectionChanged("connected"))
        else:
            self._started = True
            folders = ", ".join(str(root.folder) for root in roots_of(self._project))
            watcher = self._watcher.name if self._watcher else ""
            self._report(
                WatchStarted(folders, mirror.files(), target.name, watcher, max(0.0, self._monotonic() - began))
            )
            if target.capabilities.note:
                self._report(Notice("info", target.capabilities.note))
        self._connected = True
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
            if word and self._asked:
                self._guard.confirm(self._asked)
            self._forget_old(now)
            self._look(mirror, None, now)
        if asks and now >= due.report:
            self._ask_scheduler(mirror.target)

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
            self._on_verdict(message)
        elif isinstance(message, _Lost):
            if message.session == self._sessions:
                raise TargetLost(message.reason)
        elif isinstance(message, _Answered):
            if message.yes:
                self._guard.confirm(message.held.paths)
                hints.append(Hint(None, self._monotonic()))
        else:
            self._report(
                Notice("warning", f"The watcher failed ({message.reason}); changes are now noticed by regular looks")
            )

    # ----------------------------------------------------------------------------------------------------- one look

    def _look(self, mirror: Mirror, paths: set[Path] | None, since: float) -> None:
        began = self._monotonic()
        if paths is None and began < self._rest_until:
            self._due.look, self._due.since = self._rest_until, since
            return
        if self._git.busy():  # half a checkout is neither sent nor taken for deletes
            self._due.look, self._due.since = began + _GIT_SECONDS, since
            self._plan_full_look(began)
            return
        try:
            outcome = mirror.step(paths, interrupted=self._git.busy)
        except TargetCannot as error:
            if str(error) != self._cannot:
                self._cannot = str(error)
                self._report(Notice("error", error.message, error.hint or ""))
            self._due.look, self._due.since = 0.0, 0.0
            self._plan_full_look(began)
            return
        self._cannot = ""
        self._due.look, self._due.since = 0.0, 0.0
        if outcome.again is not None:
            self._due.look, self._due.since = self._monotonic() + outcome.again, since
        if paths is None:
            ended = self._monotonic()
            if not outcome.done:
                self._look_seconds = ended - began
                self._rest_until = ended + _REST_SHARE * self._look_seconds
            self._plan_full_look(ended)
        self._tell(outcome, mirror, since)
        if outcome.held is not None:
            self._ask(outcome.held)
        else:
            self._asked = frozenset()

    def _plan_full_look(self, now: float) -> None:
        self._due.full = now + max(RESCAN_SECONDS, _RESCAN_SHARE * self._look_seconds)

    def _ask(self, held: Held) -> None:
        """Says, once for each set of files, that deletes are held; asks in a thread of its own."""
        if held.paths == self._asked:
            return
        self._asked = held.paths
        self._report(Notice("warning", held.error().message, held.error().hint or ""))
        confirm = self._confirm_deletes
        if confirm is None:
            return

        def ask() -> None:
            self._messages.put(_Answered(held, yes=confirm(held.question)))

        threading.Thread(target=ask, name="question about deletes", daemon=True).start()

    # ---------------------------------------------------------------------------------------------------- the events

    def _tell(self, outcome: Outcome, mirror: Mirror, since: float) -> None:
        now = self._monotonic()
        milliseconds = (now - since) * 1000
        events: list[Event]
        if len(outcome.done) > LISTED:
            kinds = [change.change for change in outcome.done]
            events = [
                BatchSynced(
                    added=kinds.count("added"),
                    changed=kinds.count("changed") + kinds.count("mode") + kinds.count("renamed"),
                    deleted=kinds.count("deleted"),
                    size=sum(change.size for change in outcome.done if change.change in ("added", "changed")),
                    milliseconds=milliseconds,
                )
            ]
        else:
            events = [FileSynced(c.path, c.change, c.size, milliseconds, c.previous) for c in outcome.done]
        for event in events:
            self._report(event)
        self._tell_skipped(outcome.skipped)
        self._tell_refused(outcome)
        if outcome.done:
            self._warn_near_limit(mirror)
            self._note_sent(outcome.done, mirror.target, since, now)

    def _note_sent(self, done: Sequence[Change], target: Target, since: float, now: float) -> None:
        acked = target.clock() - (self._monotonic() - now) if target.capabilities.scheduler else 0.0
        for change in done:
            for gone in (change.path if change.change == "deleted" else "", change.previous):
                if gone:
                    self._confirmation.removed(gone)
                    verdict = self._verdicts.pop(gone, None)
                    if verdict is not None and change.change == "deleted":
                        self._report(VerdictCleared(gone, verdict.dag_ids))
                    elif verdict is not None:
                        self._report(VerdictCleared(gone))
            if change.change != "deleted":
                self._saved[change.path] = since
                if target.capabilities.scheduler and self._scanner.is_dag_file(change.path):
                    self._confirmation.sent(change.path, acked=acked, saved=since, now=now)

    def _tell_skipped(self, skipped: Mapping[str, str]) -> None:
        for path, reason in skipped.items():
            if self._skipped.get(path) != reason:
                self._report(FileSkipped(path, reason))
        self._skipped = dict(skipped)

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

    def _on_verdict(self, said: _Said) -> None:
        verdict = said.verdict
        before = self._verdicts.get(verdict.file)
        saved = self._saved.get(verdict.because or verdict.file)
        self._verdicts[verdict.file] = verdict
        self._confirmation.heard(verdict)
        if saved is None and before is not None and _content(before) == _content(verdict):
            return  # a new session tells again what is known
        if verdict.because and saved is not None:  # the agent touched this file, so the scheduler parses it too
            self._confirmation.sent(verdict.file, acked=verdict.parsed_at, saved=saved, now=said.at)
        self._report(VerdictReached(verdict, (said.at - saved) * 1000 if saved is not None else 0.0))

    def _ask_scheduler(self, target: Target) -> None:
        report = target.scheduler()
        now = self._monotonic()
        events, touch = self._confirmation.compare(report, now)
        for event in events:
            self._report(event)
        if touch:
            target.touch(touch)
        self._due.report = now + self._confirmation.interval(now)

    def _forget_old(self, now: float) -> None:
        self._saved = {path: at for path, at in self._saved.items() if now - at < _REMEMBER_SECONDS}

    def _ear(self) -> Listener:
        self._sessions += 1
        return _Ear(self._messages, self._sessions, self._monotonic)


def _content(verdict: Verdict) -> tuple[object, ...]:
    return (verdict.dag_ids, verdict.problems)
