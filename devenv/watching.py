"""A watch from its lock to its end: the sync loop, what keeps the URLs working, and what an image is made of."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from devenv.errors import DevenvError
from devenv.events import Notice, Reporter, both
from devenv.journal import Journal
from devenv.settings.load import FILE_NAME, SettingsError, load
from devenv.sync.ignore import Ignore
from devenv.sync.lock import WatchLock
from devenv.sync.loop import SyncLoop
from devenv.sync.roots import require_dag_folder, roots_of
from devenv.sync.watch import open_watcher

if TYPE_CHECKING:
    from devenv.backends.base import Backend
    from devenv.project import Project

_INPUTS = ("requirements.txt", "packages.txt")
_LOOK_SECONDS = 1.0
_SETTLED_LOOKS = 2
"""An editor, or `pip freeze >`, is done when this many looks in a row see the same."""


def watch(
    project: Project,
    backend: Backend,
    report: Reporter,
    confirm_deletes: Callable[[str], bool] | None,
    stop: threading.Event | None = None,
    *,
    take_over: bool = False,
) -> None:
    """Keeps the DAG volume in step until `stop` is set or Ctrl-C is pressed.

    Args:
        project: whose folders.
        backend: where Airflow runs.
        report: takes the events.
        confirm_deletes: asks whether deletes that look like an accident are meant; None where nobody can be asked.
        stop: ends the watch.
        take_over: use a volume that another environment filled.

    Raises:
        AlreadyWatched: another process watches this project.
        DagFolderMissing: there is nothing to watch.
        DevenvError: the volume cannot be reached.
    """
    require_dag_folder(project)
    sync = project.settings.sync
    lock = WatchLock(project.state_folder, project.environment.now)
    with lock, backend.during_watch(report):
        watcher = open_watcher(
            roots_of(project), Ignore(sync.ignore), report, kind=sync.watcher, poll_seconds=sync.poll_seconds
        )
        inputs = _Inputs(project, backend, report)
        inputs.start()
        journal = Journal(project.state_folder, project.environment.now)
        told = both(report, journal.report)
        try:
            opened = functools.partial(backend.open_target, take_over=take_over)
            SyncLoop(project, opened, told, watcher, confirm_deletes=confirm_deletes, stop=stop).run()
        finally:
            inputs.stop()
            journal.close()


class _Inputs(threading.Thread):
    """Looks once a second at what the image is made of, and at `devenv.toml`; a handful of `stat` calls."""

    def __init__(self, project: Project, backend: Backend, report: Reporter) -> None:
        super().__init__(name="inputs", daemon=True)
        self._project = project
        self._backend = backend
        self._report = report
        self._ended = threading.Event()
        self._known = self._fingerprint()
        self._known_settings = _state(project.folder / FILE_NAME)

    def stop(self) -> None:
        """Ends the thread; an image that is being built is not waited for."""
        self._ended.set()

    def run(self) -> None:
        """Compares, and acts when a change has settled."""
        seen, seen_settings = self._known, self._known_settings
        same = 0
        while not self._ended.wait(_LOOK_SECONDS):
            now, settings = self._fingerprint(), _state(self._project.folder / FILE_NAME)
            same = same + 1 if (now, settings) == (seen, seen_settings) else 0
            seen, seen_settings = now, settings
            if same < _SETTLED_LOOKS:
                continue
            if settings != self._known_settings:
                self._known_settings = settings
                self._tell_settings()
            if now != self._known:
                self._known = now
                self._reconcile()

    def _fingerprint(self) -> tuple[object, ...]:
        folder = self._project.folder
        files = [folder / name for name in _INPUTS]
        if "plugins" not in self._project.settings.sync.folders and (folder / "plugins").is_dir():
            files += sorted((folder / "plugins").rglob("*.py"))
        return tuple((str(file), _state(file)) for file in files)

    def _reconcile(self) -> None:
        try:
            self._backend.reconcile(self._report)
        except DevenvError as error:
            self._report(Notice("error", error.message, error.hint or ""))

    def _tell_settings(self) -> None:
        try:
            load(self._project.folder, self._project.environment)
        except SettingsError as error:
            self._report(Notice("error", error.message, error.hint or ""))
        else:
            self._report(Notice("info", f"{FILE_NAME} changed; it holds from the next `devenv up` on", "devenv up"))


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
