"""What the page shows, gathered from the watch's journal, the environment and its logs, and handed to who listens.

Nothing is asked of the environment while nobody looks at the page.
"""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from devenv.airflow.model import dag_path
from devenv.backends.base import LogQuery
from devenv.errors import DevenvError
from devenv.journal import JournalReader, journal_file
from devenv.logs.scrub import Scrubber
from devenv.overview import Overview, look
from devenv.record import FileState, Record
from devenv.sync.lock import holder
from devenv.sync.shown import Shown
from devenv.verdict import Problem, Verdict

if TYPE_CHECKING:
    from devenv.backends.base import Backend
    from devenv.events import LogLine
    from devenv.project import Project

Message = tuple[str, Any]
"""The name of a server-sent event and its data."""

_JOURNAL_SECONDS = 0.2
_ENVIRONMENT_SECONDS = 3.0
_SECRETS_EVERY = 5
"""Secrets are looked at with every so many looks at the environment."""
_WAITING_LIMIT = 2000
"""A page that is so many messages behind is cut off; it comes back by itself and is told all anew."""
LOG_LINES = 3000
"""So many lines are kept, of all components together."""
_LOG_TAIL = 300
_WRITTEN = ("detail", "excerpt", "hint", "message", "reason", "silent", "text")
_LOG_AGAIN_SECONDS = 3.0


class Feed:
    """Gathers, and tells the differences; `start` before anything else.

    Args:
        project: whose.
        backend: where its Airflow runs.
    """

    def __init__(self, project: Project, backend: Backend) -> None:
        self._project = project
        self._backend = backend
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._looked_at = threading.Event()
        self._listeners: list[queue.Queue[Message]] = []
        self._reader = JournalReader(journal_file(project.state_folder))
        self._knowledge = threading.RLock()
        """Around `_record`, `_overview` and what is made of them, which two threads do."""
        self._names = Shown.of(project)
        self._record = Record(self._names)
        self._overview: Overview | None = None
        self._shown: dict[str, Any] = {}
        self._files: dict[str, dict[str, Any]] = {}
        self._states: dict[str, FileState] = {}
        self._hidden: tuple[str, ...] = ()
        self._scrub: Callable[[str], str] = Scrubber()
        self._logs: deque[tuple[int, LogLine]] = deque(maxlen=LOG_LINES)
        self._logged = threading.Condition()
        self._log_count = 0
        self._log_thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to gather, in threads that end with the process or with `stop`."""
        with contextlib.suppress(DevenvError):
            self._hide()
        self._read_journal()
        for work in (self._follow_journal, self._follow_environment):
            threading.Thread(target=work, name=work.__name__, daemon=True).start()

    def stop(self) -> None:
        """Ends the threads and every listener."""
        self._ended.set()
        self._looked_at.set()
        with self._logged:
            self._logged.notify_all()

    # ------------------------------------------------------------------------------------------------- what is told

    @contextlib.contextmanager
    def listen(self) -> Iterator[queue.Queue[Message]]:
        """A queue that begins with everything there is, and goes on with what changes."""
        waiting: queue.Queue[Message] = queue.Queue(_WAITING_LIMIT)
        with self._lock:
            for name, data in self._shown.items():
                waiting.put((name, data))
            waiting.put(("files", {"all": True, "changed": list(self._files.values()), "gone": []}))
            self._listeners.append(waiting)
            self._looked_at.set()
        try:
            yield waiting
        finally:
            with self._lock:
                self._drop(waiting)

    def listened_to(self, waiting: queue.Queue[Message]) -> bool:
        """False once a queue was cut off because nobody emptied it."""
        return waiting in self._listeners and not self._ended.is_set()

    def _drop(self, waiting: queue.Queue[Message]) -> None:
        if waiting in self._listeners:
            self._listeners.remove(waiting)
        if not self._listeners and not self._ended.is_set():
            self._looked_at.clear()

    def _show(self, name: str, data: Any) -> None:
        """Tells a part of the page when it differs from what was told last. Holds no value of a secret."""
        data = _scrubbed(data, self._scrub)
        with self._lock:
            if self._shown.get(name) != data:
                self._shown[name] = data
                self._tell(name, data)

    def _show_files(self) -> None:
        with self._knowledge:
            states = self._known_files()
            changed = {
                path: _scrubbed(state.to_json(), self._scrub)
                for path, state in states.items()
                if self._states.get(path) != state
            }
            gone = [path for path in self._files if path not in states]
            self._states = states
            with self._lock:
                self._files = {path: changed.get(path) or self._files[path] for path in states}
                if changed or gone:
                    self._tell("files", {"all": False, "changed": list(changed.values()), "gone": gone})

    def _tell(self, name: str, data: Any) -> None:
        for waiting in list(self._listeners):
            try:
                waiting.put_nowait((name, data))
            except queue.Full:  # noqa: PERF203 (each on its own)
                self._drop(waiting)

    # ------------------------------------------------------------------------------------------------- the watch

    def _follow_journal(self) -> None:
        while not self._ended.wait(_JOURNAL_SECONDS):
            self._read_journal()

    def _read_journal(self) -> None:
        with self._knowledge:
            self._take_journal()

    def _take_journal(self) -> None:
        anew, lines = self._reader.fresh()
        if anew:
            self._record = Record(self._names)
        for line in lines:
            self._record.take(line)
        watcher = holder(self._project.state_folder)
        if anew or lines or "saves" not in self._shown:
            self._show("saves", self._record.saves_json())
        watch = {
            "pid": watcher.pid if watcher else None,
            "since": watcher.since if watcher else None,
            "started": self._record.watch if watcher else {},
            "connection": self._record.connection if watcher else {},
        }
        before = self._shown.get("watch")
        self._show("watch", watch)
        if anew or lines or before != self._shown.get("watch"):
            self._show_files()

    def _known_files(self) -> dict[str, FileState]:
        """From the watch while there is one; else, and for files that it does not know, from Airflow itself."""
        known: dict[str, FileState] = {}
        overview = self._overview
        if overview is not None:
            for dag in overview.listed:
                path = self._names.path(dag_path(dag.file))
                before = known[path].verdict.dag_ids if path in known else ()
                known[path] = FileState(
                    Verdict(path, (*before, dag.dag_id), speaker="scheduler"), dag.parsed_at, ("scheduler",)
                )
            for broken in overview.broken:
                path = self._names.path(dag_path(broken.file))
                problem = Problem("scheduler-import-error", "error", broken.trace.strip(), file=path)
                known[path] = FileState(
                    Verdict(path, problems=(problem,), speaker="scheduler"), broken.at, ("scheduler",)
                )
        if holder(self._project.state_folder) is not None:
            watched = self._record.files()
            broken_only = {path: state for path, state in known.items() if not state.verdict.ok}
            return {**(broken_only if watched else known), **watched}
        return known

    # ------------------------------------------------------------------------------------------------- the environment

    def _follow_environment(self) -> None:
        count = 0
        while not self._ended.is_set():
            self._looked_at.wait()
            if self._ended.is_set():
                return
            try:
                if count % _SECRETS_EVERY == 0:
                    self._look_at_secrets()
                self._look_at_environment()
            except Exception as error:  # noqa: BLE001 (a defect in one look must not leave the page as it was for ever)
                self._show("environment", {"state": "unknown", "silent": f"{type(error).__name__}: {error}"})
            count += 1
            self._ended.wait(_ENVIRONMENT_SECONDS)

    def _look_at_environment(self) -> None:
        try:
            overview = look(self._project, self._backend)
        except DevenvError as error:
            self._show("environment", {"state": "unknown", "silent": error.message, "hint": error.hint or ""})
            return
        with self._knowledge:
            self._overview = overview
        told = dataclasses.asdict(overview)
        for name in ("listed", "broken", "judged", "watcher"):
            told.pop(name)
        self._show("environment", {**told.pop("status"), **told})
        self._show_files()

    def _look_at_secrets(self) -> None:
        try:
            entries, silent = secret_names(self._project, self._backend)
            self._hide()
        except DevenvError as error:
            self._show("secrets", {"entries": [], "silent": error.message})
            return
        self._show("secrets", {"entries": entries, "silent": silent})

    def _hide(self) -> None:
        """Takes the values that there are now out of all that is told; a new one also out of what was told before."""
        hidden = tuple(sorted(set(self._backend.known_secrets())))
        if hidden == self._hidden:
            return
        with self._knowledge:
            self._hidden, self._scrub = hidden, Scrubber(hidden)
            self._states = {}

    # ------------------------------------------------------------------------------------------------- logs

    def log_lines(self, component: str, wait_seconds: float) -> Iterator[list[dict[str, Any]]]:
        """The last lines of a component ("" for all), then what comes; an empty list where nothing came for a while."""
        with self._logged:
            if self._log_thread is None:
                self._log_thread = threading.Thread(target=self._follow_logs, name="logs", daemon=True)
                self._log_thread.start()
        seen = 0
        while not self._ended.is_set():
            with self._logged:
                if self._log_count == seen:
                    self._logged.wait(wait_seconds)
                fresh = [line for number, line in self._logs if number > seen]
                seen = self._log_count
            wanted = [dataclasses.asdict(line) for line in fresh if component in ("", line.component)]
            yield _scrubbed(wanted, self._scrub)

    def _follow_logs(self) -> None:
        """Follows all components for as long as the server runs: changing between them is then at once."""
        since: float | None = None
        while not self._ended.is_set():
            last = 0.0
            # It may not be up: the environment's state says so, and the logs are asked for again.
            with contextlib.suppress(DevenvError, OSError):
                for line in self._backend.logs(LogQuery(follow=True, tail=_LOG_TAIL, since_seconds=since)):
                    last = line.time
                    with self._logged:
                        self._log_count += 1
                        self._logs.append((self._log_count, line))
                        self._logged.notify_all()
                    if self._ended.is_set():
                        return
            now = self._project.environment.now()
            since = max(0.1, now - last) if last else since
            self._ended.wait(_LOG_AGAIN_SECONDS)


def secret_names(project: Project, backend: Backend) -> tuple[list[dict[str, Any]], str]:
    """Paths and keys of all secrets, no values, as `devenv secrets list` has them; why they are the seeds', or ""."""
    from devenv.vault.editor import SecretEditor
    from devenv.vault.keeper import SeedKeeper
    from devenv.vault.store import SecretStore

    store, silent, keeper = None, "", SeedKeeper(project)
    try:
        keeper = backend.seed_keeper()
        store = SecretStore(backend.vault(), project.settings.vault.mount)
        store.paths("devenv/")  # asks Vault whether it is there
    except DevenvError as error:
        store, silent = None, error.message
    editor = SecretEditor(project, keeper, store)
    return [{**dataclasses.asdict(entry), "readers": editor.readers(entry)} for entry in editor.entries()], silent


def _scrubbed(data: Any, scrub: Callable[[str], str]) -> Any:
    """Plain data without known secrets in what programs and people wrote; names and states stay as they are."""
    if isinstance(data, dict):
        return {
            key: _hidden(value, scrub) if key in _WRITTEN else _scrubbed(value, scrub) for key, value in data.items()
        }
    if isinstance(data, (list, tuple)):
        return [_scrubbed(value, scrub) for value in data]
    return data


def _hidden(text: Any, scrub: Callable[[str], str]) -> Any:
    return scrub(text) if isinstance(text, str) else [scrub(line) for line in text]
