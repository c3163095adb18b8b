"""What the tests of the sync share: projects, a scripted watcher, a target that only records, one that fails."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from devenv.environment import Environment
from devenv.events import Event
from devenv.project import Project
from devenv.settings.schema import Settings, SyncSettings
from devenv.sync.loop import SyncLoop
from devenv.sync.model import (
    Ack,
    Batch,
    Capabilities,
    Entry,
    Hint,
    Listener,
    Manifest,
    SchedulerReport,
    Target,
    TargetLost,
)

OWNER = {"environment": "test", "host": "laptop", "user": "ada", "folder": "/project"}


def project_at(folder: Path, **sync: object) -> Project:
    """A project with an (empty) DAG folder."""
    (folder / "dags").mkdir(parents=True, exist_ok=True)
    return Project(folder, Settings(sync=SyncSettings(**sync)), Environment(variables={}, cwd=folder, home=folder))


def tree(folder: Path, *, below: str = "dags") -> dict[str, tuple[str, bool]]:
    """Path → (digest or "folder", executable) of everything in a folder, as a reader of the volume sees it."""
    found = {}
    for path in sorted((folder / below).rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_dir():
            found[relative] = ("folder", False)
        else:
            found[relative] = (hashlib.sha256(path.read_bytes()).hexdigest(), bool(path.stat().st_mode & 0o100))
    return found


class Events(list):
    """A reporter that keeps what it is told, and can be waited on."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.append(event)
            self._changed.notify_all()

    def of(self, kind: type) -> list:
        """The events of one type."""
        return [event for event in list(self) if isinstance(event, kind)]

    def wait(self, kind: type, count: int = 1, timeout: float = 20.0) -> list:
        """Waits for so many events of a type."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(kind)) >= count, timeout), list(self)
        return self.of(kind)


class ScriptedWatcher:
    """Hints when the test says so."""

    name = "scripted"

    def __init__(self) -> None:
        self._hints: queue.SimpleQueue[Hint | None] = queue.SimpleQueue()

    def notice(self, *paths: Path) -> None:
        """These paths may differ; none: look at everything."""
        self._hints.put(Hint(frozenset(paths) if paths else None, time.monotonic()))

    def hints(self, timeout: float) -> Iterator[Hint]:
        try:
            hint = self._hints.get(timeout=timeout)
        except queue.Empty:
            return
        if hint is not None:
            yield hint

    def close(self) -> None:
        self._hints.put(None)


class RecordingTarget:
    """Holds what it is sent in memory and notes the order; answers as it is told to.

    Attributes:
        held: path → content (None for a folder).
        batches: what was applied, in order.
        refuse: path → the answer that it gets instead.
    """

    name = "recording"

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        self.capabilities = capabilities or Capabilities()
        self.held: dict[str, bytes | None] = {}
        self.executable: set[str] = set()
        self.batches: list[Batch] = []
        self.order: list[str] = []
        self.refuse: dict[str, Ack] = {}
        self.touched: list[str] = []
        self.report = SchedulerReport()
        self.listener: Listener | None = None
        self.lose_after: int | None = None
        """The session breaks after so many more operations."""
        self.closed = 0
        self.taken_over = False

    def opened(self, listener: Listener, *, take_over: bool = False) -> RecordingTarget:
        """What the loop calls to open a session."""
        self.listener, self.taken_over = listener, take_over
        return self

    def manifest(self) -> Manifest:
        return {path: self._entry(path, content) for path, content in self.held.items()}

    def _entry(self, path: str, content: bytes | None) -> Entry:
        if content is None:
            return Entry(path, "folder")
        digest = hashlib.sha256(content).hexdigest()
        return Entry(path, "file", digest, len(content), executable=path in self.executable)

    def apply(self, batch: Batch) -> Sequence[Ack]:
        self.batches.append(batch)
        acks = []
        for entry in batch.folders:
            acks.append(self._do(entry.path, lambda e=entry: self.held.update({e.path: None})))
        for put in batch.puts:
            acks.append(self._put(put.entry, put.read()))
        for entry in batch.modes:
            acks.append(self._do(entry.path, lambda e=entry: self._mode(e)))
        for path in batch.deletes:
            acks.append(self._do(path, lambda p=path: self.held.pop(p, None)))
        return acks

    def _put(self, entry: Entry, content: bytes) -> Ack:
        if hashlib.sha256(content).hexdigest() != entry.digest:
            return Ack(entry.path, ok=False, error="the file changed while it was sent", reason="changed")

        def write() -> None:
            assert entry.path.rpartition("/")[0] in {*self.held, "dags", "plugins"}, "a folder comes before its files"
            self.held[entry.path] = content
            self._mode(entry)

        return self._do(entry.path, write)

    def _mode(self, entry: Entry) -> None:
        (self.executable.add if entry.executable else self.executable.discard)(entry.path)

    def _do(self, path: str, change: Callable[[], object]) -> Ack:
        if self.lose_after is not None:
            if self.lose_after == 0:
                self.lose_after = None
                raise TargetLost("the pod was killed")
            self.lose_after -= 1
        if path in self.refuse:
            return replace(self.refuse[path], path=path)
        self.order.append(path)
        change()
        return Ack(path, ok=True)

    def clock(self) -> float:
        return time.time()

    def scheduler(self) -> SchedulerReport:
        return self.report

    def parse(self, paths: Sequence[str], *, wait: bool = True) -> None:
        """See `Target`: this one does not parse."""

    def touch(self, paths: Sequence[str]) -> None:
        self.touched += paths

    def close(self) -> None:
        self.closed += 1


class Watching:
    """A loop that runs in a thread for the time of a `with`."""

    def __init__(
        self,
        project: Project,
        open_target: Callable[[Listener], Target],
        watcher: object | None = None,
        confirm: Callable[[str], bool] | None = None,
    ) -> None:
        self.events = Events()
        self.watcher = watcher or ScriptedWatcher()
        self.stop = threading.Event()
        self.ended = threading.Event()
        self.error: BaseException | None = None
        self.loop = SyncLoop(project, open_target, self.events, self.watcher, confirm_deletes=confirm, stop=self.stop)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:  # noqa: BLE001 (the test looks at it)
            self.error = error
        finally:
            self.ended.set()

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
