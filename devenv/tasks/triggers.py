"""What makes `devenv test --watch` run again: a verdict on a file of the DAG, of the watch that runs or of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

from devenv.errors import DevenvError
from devenv.events import TYPES, Event, VerdictReached
from devenv.journal import JournalReader, journal_file
from devenv.sync.lock import AlreadyWatched, holder
from devenv.verdict import Verdict
from devenv.watching import watch

if TYPE_CHECKING:
    from devenv.backends.base import Backend
    from devenv.project import Project

_LOOK_SECONDS = 0.03
_LOCK_LOOKS = 33
"""Looks into the journal after which the watch's lock is looked at too."""


class Triggers:
    """Verdicts that concern one DAG, from when it is entered; `with` ends its threads.

    Attributes:
        files: where the DAG is made; verdicts on them count also when they are broken and have no DAG.
    """

    def __init__(self, project: Project, backend: Backend, dag_id: str, files: Iterable[str]) -> None:
        self.files = set(files)
        self._project = project
        self._backend = backend
        self._dag_id = dag_id
        self._verdicts: queue.SimpleQueue[Verdict | DevenvError] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="verdicts", daemon=True)

    def __enter__(self) -> Triggers:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(10.0)

    def waiting(self) -> bool:
        """Whether a verdict waits to be taken."""
        return not self._verdicts.empty()

    def next(self, timeout: float | None = None) -> Verdict | None:
        """The latest verdict, waited for; those before it are dropped. None when none came within `timeout` seconds.

        Raises:
            DevenvError: the watch of this command cannot go on.
        """
        try:
            found = self._verdicts.get(timeout=timeout)
        except queue.Empty:
            return None
        while not self._verdicts.empty():
            found = self._verdicts.get()
        if isinstance(found, DevenvError):
            raise found
        return found

    def _run(self) -> None:
        """Follows the watch that runs; where there is none, watches itself, and follows again when another began."""
        try:
            while not self._ended.is_set():
                if holder(self._project.state_folder) is not None:
                    self._follow()
                else:
                    try:
                        watch(self._project, self._backend, self._hear, None, self._ended)
                    except AlreadyWatched:
                        continue
        except DevenvError as error:
            self._verdicts.put(error)

    def _follow(self) -> None:
        """Reads what the other watch notes, until it ends."""
        reader = JournalReader(journal_file(self._project.state_folder))
        reader.fresh()
        looks = 0
        while not self._ended.wait(_LOOK_SECONDS):
            _anew, lines = reader.fresh()
            for line in lines:
                if line["type"] == TYPES[VerdictReached]:
                    self._take(Verdict.from_json(line["data"]), line["data"].get("milliseconds_since_save"))
            looks += 1
            if looks % _LOCK_LOOKS == 0 and holder(self._project.state_folder) is None:
                return

    def _hear(self, event: Event) -> None:
        if isinstance(event, VerdictReached):
            self._take(event.verdict, event.milliseconds)

    def _take(self, verdict: Verdict, since_save: object) -> None:
        if not since_save:
            return  # no save caused it: a watch begins with a verdict on each file
        concerns = self._dag_id in verdict.dag_ids or verdict.file in self.files
        if concerns and verdict.speaker == "agent":
            self.files.add(verdict.file)
            self._verdicts.put(verdict)
