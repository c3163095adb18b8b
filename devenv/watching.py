"""A watch from its lock to its end: the sync loop, what keeps the URLs working, and what an image is made of."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from devenv.backends.choose import choose
from devenv.errors import DevenvError
from devenv.events import Event, Notice, Reporter, WatchStarted, both
from devenv.journal import Journal
from devenv.project import Project
from devenv.settings.load import FILE_NAME
from devenv.sync import plugins
from devenv.sync.ignore import Ignore
from devenv.sync.lock import WatchLock
from devenv.sync.loop import SyncLoop
from devenv.sync.parse_again import leave_request
from devenv.sync.roots import require_dag_folder, roots_of
from devenv.sync.watch import open_watcher

if TYPE_CHECKING:
    from devenv.backends.base import Backend

_PACKAGES = "packages.txt"
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
    ended = stop or threading.Event()
    with WatchLock(project.make_state_folder(), project.environment.now), backend.during_watch(report):
        journal = Journal(project.state_folder, project.environment.now)
        inputs = _Inputs(project, backend, report, ended)
        try:
            inputs.start()
            while not ended.is_set():
                project, backend = inputs.project, inputs.backend
                heard = both(both(report, journal.report), inputs.heard)
                loop = _loop(project, backend, heard, confirm_deletes, take_over=take_over)
                inputs.follow(loop)
                loop.run()
        finally:
            ended.set()
            journal.close()


def _loop(
    project: Project,
    backend: Backend,
    report: Reporter,
    confirm_deletes: Callable[[str], bool] | None,
    *,
    take_over: bool,
) -> SyncLoop:
    sync = project.settings.sync
    watcher = open_watcher(
        roots_of(project), Ignore(sync.ignore), report, kind=sync.watcher, poll_seconds=sync.poll_seconds
    )
    opened = functools.partial(backend.open_target, take_over=take_over)
    return SyncLoop(project, opened, report, watcher, confirm_deletes=confirm_deletes)


class _Inputs(threading.Thread):
    """Looks once a second at what a watch depends on besides the DAG files; a handful of `stat` calls.

    That is: what the image is made of, `devenv.toml`, and the environment in which the agent runs.

    Attributes:
        project, backend: with the settings as they are now.
    """

    def __init__(self, project: Project, backend: Backend, report: Reporter, ended: threading.Event) -> None:
        super().__init__(name="inputs", daemon=True)
        self.project = project
        self.backend = backend
        self._report = report
        self._ended = ended
        self._loop: SyncLoop | None = None
        self._known = self._fingerprint()
        self._known_settings = _state(project.folder / FILE_NAME)
        self._surroundings = backend.surroundings()
        self._synced = threading.Event()
        self._known_plugins: tuple[object, ...] | None = None

    def heard(self, event: Event) -> None:
        """Takes what the loop reports: from the first sync on, the plugins are where Airflow finds them."""
        if isinstance(event, WatchStarted):
            self._synced.set()

    def follow(self, loop: SyncLoop) -> None:
        """The loop that is to hear of changes from now on."""
        self._loop = loop
        if self._ended.is_set():
            loop.end()

    def run(self) -> None:
        """Compares, and acts when a change has settled."""
        seen, seen_settings = self._known, self._known_settings
        same = 0
        while not self._ended.wait(_LOOK_SECONDS):
            self._look_at_surroundings()
            now, settings = self._fingerprint(), _state(self.project.folder / FILE_NAME)
            same = same + 1 if (now, settings) == (seen, seen_settings) else 0
            seen, seen_settings = now, settings
            if self._synced.is_set() and self._known_plugins is None:
                self._look_at_plugins()  # at once: without them, DAGs that need them are broken
            if same < _SETTLED_LOOKS:
                continue
            if settings != self._known_settings:
                self._known_settings = settings
                self._take_settings()
            if now != self._known:
                self._known = now
                self._reconcile()
            if self._known_plugins is not None:
                self._look_at_plugins()
        if self._loop is not None:
            self._loop.end()

    def _look_at_surroundings(self) -> None:
        before, now = self._surroundings, self.backend.surroundings()
        self._surroundings = now
        if before is None or now is None or before == now:
            return
        if before.running and not now.running:
            self._report(
                Notice("warning", "the environment is stopped; saves are copied, and nothing runs them", "devenv up")
            )
            return
        if now.running and not before.running:
            self._report(Notice("info", "the environment runs again"))
        if self._loop is not None and now.running:
            self._loop.reopen("the environment was started again")

    def _look_at_plugins(self) -> None:
        folder = self.project.folder
        places = [folder / name for name in self.project.settings.sync.folders if Path(name).name == plugins.FOLDER]
        now = tuple((str(file), _state(file)) for place in places for file in sorted(place.rglob("*.py")))
        if now != self._known_plugins:
            self._known_plugins = now
            if plugins.note_synced(self.project):
                self._report(Notice("info", "Airflow's plugins changed; the processes that have them start again"))
                self._reconcile()

    def _fingerprint(self) -> tuple[object, ...]:
        folder = self.project.folder
        files = [self.project.requirements, folder / _PACKAGES]
        if plugins.FOLDER not in self.project.settings.sync.folders and (folder / plugins.FOLDER).is_dir():
            files += sorted((folder / plugins.FOLDER).rglob("*.py"))
        return tuple((str(file), _state(file)) for file in files)

    def _reconcile(self) -> None:
        try:
            self.backend.reconcile(self._report)
            leave_request(self.project.state_folder)
        except DevenvError as error:
            self._report(Notice("error", error.message, error.hint or ""))

    def _take_settings(self) -> None:
        """Goes on with what `devenv.toml` says now; a backend of another kind waits for the next `devenv up`."""
        try:
            project = Project.find(self.project.folder, self.project.environment)
            backend = choose(project, None, self._report)
        except DevenvError as error:
            self._report(Notice("error", error.message, error.hint or ""))
            return
        what = "[sync] and [check] apply now, all else from the next `devenv up`"
        self._report(Notice("info", f"{FILE_NAME} changed; {what}", "devenv up"))
        if type(backend) is type(self.backend):
            self.project, self.backend = project, backend
            if self._loop is not None:
                self._loop.end()


def _state(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
