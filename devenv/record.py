"""What a watch's journal adds up to: each DAG file as it is, each save with how long its parts took."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from devenv.events import (
    TYPES,
    BatchSynced,
    ConnectionChanged,
    FileSynced,
    PickedUp,
    VerdictCleared,
    VerdictReached,
    WatchStarted,
)
from devenv.journal import JournalReader, Line, journal_file
from devenv.sync.lock import holder
from devenv.sync.shown import Shown
from devenv.verdict import Verdict

if TYPE_CHECKING:
    from devenv.project import Project

SAVES_LIMIT = 200


@dataclass
class Save:
    """One save; times are milliseconds since it, None until known."""

    number: int
    path: str
    at: float
    change: str
    volume: float
    verdict: float | None = None
    scheduler: float | None = None


@dataclass(frozen=True)
class FileState:
    """A DAG file as it is now.

    Attributes:
        verdict: what is known; the agent's where the scheduler says the same with fewer words.
        at: when it was said, seconds since the epoch.
        speakers: who says that it is so.
    """

    verdict: Verdict
    at: float
    speakers: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for the page."""
        return {**self.verdict.to_json(), "ok": self.verdict.ok, "at": self.at, "speakers": self.speakers}


class Record:
    """Takes the lines of a journal in order."""

    def __init__(self, names: Shown | None = None) -> None:
        """Takes the repository's own names of the synced folders."""
        self._names = names or Shown({})
        self.saves: deque[Save] = deque(maxlen=SAVES_LIMIT)
        self.watch: dict[str, Any] = {}
        """The data of the last `WatchStarted`."""
        self.connection: dict[str, Any] = {}
        """The data of the last `ConnectionChanged`, empty while all is well."""
        self._said: dict[str, dict[str, tuple[float, Verdict]]] = {}
        self._count = 0

    def take(self, line: Line) -> None:
        """A line; one of a kind that is not known changes nothing."""
        data: Mapping[str, Any] = line["data"]
        at: float = line["at"]
        kind = line["type"]
        if kind == TYPES[WatchStarted]:
            self._said.clear()  # a new watch tells all that there is
            self.watch, self.connection = dict(data), {}
        elif kind == TYPES[ConnectionChanged]:
            self.connection = {} if data.get("state") == "connected" else dict(data)
        elif kind == TYPES[FileSynced]:
            self._save(at, self._path(data), str(data.get("change")), float(data.get("milliseconds") or 0))
        elif kind == TYPES[BatchSynced]:
            files = sum(int(data.get(name) or 0) for name in ("added", "changed", "deleted"))
            self._save(at, f"{files} files", "batch", float(data.get("milliseconds") or 0))
        elif kind == TYPES[PickedUp]:
            save = self._last(self._path(data))
            if save is not None and save.scheduler is None:
                save.scheduler = float(data.get("milliseconds") or 0)
        elif kind == TYPES[VerdictReached]:
            verdict = self._names.verdict(Verdict.from_json(data))
            self._judge(at, verdict, float(data.get("milliseconds_since_save") or 0))
        elif kind == TYPES[VerdictCleared]:
            self._said.pop(self._path(data), None)

    def _path(self, data: Mapping[str, Any]) -> str:
        return self._names.path(str(data.get("path")))

    def files(self) -> dict[str, FileState]:
        """Path → how it is."""
        return {path: _state(said) for path, said in self._said.items()}

    def saves_json(self) -> list[dict[str, Any]]:
        """The last saves, the oldest first, as plain data."""
        return [asdict(save) for save in self.saves]

    def _save(self, at: float, path: str, change: str, milliseconds: float) -> None:
        self._count += 1
        self.saves.append(Save(self._count, path, at, change, milliseconds))

    def _judge(self, at: float, verdict: Verdict, milliseconds: float) -> None:
        self._said.setdefault(verdict.file, {})[verdict.speaker] = (at, verdict)
        save = self._last(verdict.file) if milliseconds and verdict.speaker == "agent" else None
        if save is not None and save.verdict is None:
            save.verdict = milliseconds

    def _last(self, path: str) -> Save | None:
        return next((save for save in reversed(self.saves) if save.path == path), None)


def _state(said: Mapping[str, tuple[float, Verdict]]) -> FileState:
    at, newest = max(said.values(), key=lambda pair: pair[0])
    agree = [(speaker, other) for speaker, (_, other) in said.items() if other.ok == newest.ok]
    best = next((other for speaker, other in agree if speaker == "agent"), newest)
    return FileState(best, at, tuple(sorted(speaker for speaker, _ in agree)))


def broken_now(project: Project, known: Collection[str] = ()) -> list[Verdict]:
    """The files that the watch which runs holds for broken, sorted; none where nothing watches.

    The scheduler does not know all of them: two files that make one DAG, or a policy of the project, are devenv's own.

    Args:
        project: of the watch.
        known: files that the scheduler holds for broken, which are left out.
    """
    if holder(project.state_folder) is None:
        return []
    record = Record()
    for line in JournalReader(journal_file(project.state_folder)).fresh()[1]:
        record.take(line)
    found = [
        state.verdict for state in record.files().values() if not state.verdict.ok and state.verdict.file not in known
    ]
    return sorted(found, key=lambda verdict: verdict.file)
