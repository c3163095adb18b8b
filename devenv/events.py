"""What happens, as plain data: the only way in which the rooms below `cli` speak to a person.

A room is handed a `Reporter` and calls it with events; `devenv.console` turns them into text, a live
display or JSON lines. No room below `cli` prints, and none imports `console`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from devenv.verdict import Verdict


@dataclass(frozen=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True)
class StepStarted(Event):
    """A step of `up`, `down` or `destroy` began. `title` is shown: "Start minikube"."""

    name: str
    title: str


@dataclass(frozen=True)
class StepProgress(Event):
    """What the running step is doing right now; `fraction` is 0 to 1 where it can be told."""

    name: str
    message: str
    fraction: float | None = None


@dataclass(frozen=True)
class StepFinished(Event):
    """A step ended well; `skipped` when there was nothing to do."""

    name: str
    title: str
    seconds: float
    skipped: bool = False
    message: str = ""


@dataclass(frozen=True)
class StepFailed(Event):
    """A step ended with an error, which is shown after it."""

    name: str
    title: str
    seconds: float


@dataclass(frozen=True)
class Notice(Event):
    """A line for the person that belongs to no step; `hint` is the next command."""

    level: Literal["info", "warning", "error"]
    message: str
    hint: str = ""


@dataclass(frozen=True)
class Output(Event):
    """A line of a program's output (an image build), shown dimmed under its step, kept for a failure."""

    name: str
    line: str


@dataclass(frozen=True)
class WatchStarted(Event):
    """The watch is on: how many files are in step, and who watches how ("inotify", "polling")."""

    folder: str
    files: int
    target: str
    watcher: str
    seconds: float


@dataclass(frozen=True)
class FileSynced(Event):
    """A change is in the volume, acknowledged with its digest.

    Attributes:
        path: as in `Verdict.file`.
        change: what happened to it.
        size: bytes.
        milliseconds: from the first sign of the change to the acknowledgement.
        previous: the former path, for a rename.
    """

    path: str
    change: Literal["added", "changed", "renamed", "deleted", "mode"]
    size: int
    milliseconds: float
    previous: str = ""


@dataclass(frozen=True)
class BatchSynced(Event):
    """A batch too large to list file by file; the single `FileSynced` events are not sent."""

    added: int
    changed: int
    deleted: int
    size: int
    milliseconds: float


@dataclass(frozen=True)
class FileSkipped(Event):
    """A local file that is not sent, and why; said once per file and reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class VerdictReached(Event):
    """A verdict on a DAG file; `milliseconds` from the save, or 0 when no save caused it."""

    verdict: Verdict
    milliseconds: float


@dataclass(frozen=True)
class PickedUp(Event):
    """The scheduler has parsed this version of the file itself; `milliseconds` from the save."""

    path: str
    milliseconds: float


@dataclass(frozen=True)
class VerdictCleared(Event):
    """The file is gone, and with it what was wrong with it; `dag_ids` disappear."""

    path: str
    dag_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConnectionChanged(Event):
    """The session to the target was lost, is being made again, or is back."""

    state: Literal["lost", "reconnecting", "connected"]
    reason: str = ""
    attempt: int = 0


@dataclass(frozen=True)
class LogLine(Event):
    """One line of a component's log, its time in seconds since the epoch, cleaned of terminal escapes."""

    component: str
    source: str
    """The pod (and container), or the process, that wrote it."""
    time: float
    text: str


TYPES: dict[type[Event], str] = {
    StepStarted: "devenv.step.started",
    StepProgress: "devenv.step.progress",
    StepFinished: "devenv.step.finished",
    StepFailed: "devenv.step.failed",
    Output: "devenv.output",
    Notice: "devenv.notice",
    WatchStarted: "devenv.watch.started",
    FileSynced: "devenv.file.synced",
    BatchSynced: "devenv.batch.synced",
    FileSkipped: "devenv.file.skipped",
    VerdictReached: "devenv.verdict.reached",
    VerdictCleared: "devenv.verdict.cleared",
    PickedUp: "devenv.scheduler.parsed",
    ConnectionChanged: "devenv.connection.changed",
    LogLine: "devenv.log",
}
"""Event → its name in lines of JSON. Names are never changed or removed, only added."""


def data_of(event: Event) -> dict[str, Any]:
    """An event as what stands under `data` in a line of JSON."""
    if isinstance(event, VerdictReached):
        return {**event.verdict.to_json(), "ok": event.verdict.ok, "milliseconds_since_save": event.milliseconds}
    return asdict(event)


Reporter = Callable[[Event], None]
"""Takes an event; must be quick, may be called from any thread, never raises."""


def silent(_event: Event) -> None:
    """The reporter that says nothing."""


def both(first: Reporter, second: Reporter) -> Reporter:
    """A reporter that tells two."""

    def report(event: Event) -> None:
        first(event)
        second(event)

    return report
