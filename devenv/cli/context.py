"""What every command starts from: the global flags, the project, its backend, and who tells the person.

A command takes these from here and nothing from `os` or `sys`:

    project = project_from(flags={"airflow.version": version})
    backend = backend_from(project, flag)
    report = reporter_from()    # takes events
    console().print("data")     # to standard output

The flags `--project`, `-o`, `-q`, `-v` and `--no-color` are added to every command by `devenv.cli.app`; a command
does not declare them, it reads `session()`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devenv.environment import Session

if TYPE_CHECKING:
    from devenv.backends.base import Backend
    from devenv.console.console import Console
    from devenv.errors import DevenvError
    from devenv.events import Reporter
    from devenv.project import Project


_STOPPING_SECONDS = 15.0
_ENDING_SECONDS = 4.0
_LOOK_SECONDS = 0.3
_session: ContextVar[Session] = ContextVar("session")
_made: list[Console] = []
"""The console of the current run; at most one. Not in a `ContextVar`, which other threads do not see."""
_making = threading.Lock()
_backends: list[Backend] = []
"""The backend of the current run, of a command that needs a running environment; at most one."""
_projects: list[Project] = []
"""The project of the current run, for the names of its folders; at most one."""


def session() -> Session:
    """The current run of `devenv`."""
    try:
        return _session.get()
    except LookupError:
        current = Session()
        _session.set(current)
        return current


@contextlib.contextmanager
def session_of(current: Session) -> Iterator[Session]:
    """Makes `current` the session for the time of the context."""
    token = _session.set(current)
    _projects.clear()
    _backends.clear()
    try:
        yield current
    finally:
        _session.reset(token)


def amend(**changes: Any) -> None:
    """Notes what a global flag says."""
    _session.set(replace(session(), **changes))


def project_from(
    folder: Path | None = None, flags: Mapping[str, Any] | None = None, *, as_last_up: bool = True
) -> Project:
    """The project of this run.

    Args:
        folder: one that was named; None takes `--project`, else the nearest project from the working folder upwards.
        flags: dotted setting → value given on the command line ("airflow.version"); None counts as not given.
        as_last_up: what flags the last `devenv up` was given holds for this command too.

    Raises:
        NoProject: there is none.
        SettingsError: `devenv.toml`, a variable or a flag is not valid.
    """
    from devenv.project import Project

    current = session()
    project = Project.find(folder or current.folder, current.environment, flags, as_last_up=as_last_up)
    _projects[:] = [project]
    return project


def backend_from(project: Project, flag: str | None = None, *, needs_running: bool = True) -> Backend:
    """The backend of a project: the flag, the setting, or what this machine can do.

    Args:
        project: of this run.
        flag: `--backend`.
        needs_running: where something does not answer because the environment is stopped, the error says that it is.

    Raises:
        DevenvError: the one that was asked for is not possible here.
    """
    from devenv.backends.choose import choose

    backend = choose(project, flag, reporter_from())
    _backends[:] = [backend] if needs_running else []
    return backend


def stopped_instead_of(error: DevenvError) -> DevenvError | None:
    """That the environment is stopped, where this is why something did not answer; None where it is not."""
    from devenv.backends.base import EnvironmentStopped
    from devenv.errors import DevenvError

    if not error.of_silence or not _backends:
        return None
    clock = session().environment.monotonic
    began = clock()
    try:
        while True:
            status = _backends[0].status()
            if status.state in ("stopped", "missing"):
                return EnvironmentStopped(status.state)
            # `devenv down` ends one part after the other; each counts as running until its last process has ended.
            stopping = any(component.health == "stopped" for component in status.components)
            if clock() - began >= (_STOPPING_SECONDS if stopping else _ENDING_SECONDS):
                return None
            time.sleep(_LOOK_SECONDS)
    except DevenvError:
        return None


def reporter_from() -> Reporter:
    """Tells the person of this run what happens, in the form that its flags and streams ask for.

    The console, which takes longer to import than all else, is made when there is something to tell.
    """
    current = session()
    return lambda event: _console_of(current).report(event)


def console() -> Console:
    """Where this run writes: data on standard output, messages on standard error."""
    return _console_of(session())


def close_console() -> None:
    """Ends the live display, where something was written at all."""
    with _making:
        if _made:
            _made[0].close()


def _console_of(current: Session) -> Console:
    with _making:
        if not _made or _made[0].session is not current:
            from devenv.console.console import Console

            _made[:] = [Console(current)]
        if _made[0].shown is None and _projects and _names_differ(_projects[0]):
            from devenv.sync.shown import Shown

            _made[0].shown = Shown.of(_projects[0])
        return _made[0]


def _names_differ(project: Project) -> bool:
    """Whether the synced folders have other names in the repository than everywhere else."""
    sync = project.settings.sync
    return sync.dags != "dags" or any("/" in folder for folder in sync.folders)
