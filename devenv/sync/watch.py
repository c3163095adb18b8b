"""Noticing that something may have changed. A watcher only hints; the scan decides.

A save is told on at once (leading edge), what follows closely is gathered until it is quiet for `QUIET_SECONDS`, at
most `CAP_SECONDS`, so that constant writes cannot starve the sync. On Linux a file that is being written is told on
when its writer closes it.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from devenv.events import Notice, Reporter
from devenv.sync.ignore import Ignore
from devenv.sync.model import Hint, Root, Watcher

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver, ObservedWatch

QUIET_SECONDS = 0.025
CAP_SECONDS = 0.25
_MOVE_SECONDS = 0.05
"""How long the first half of a move may wait for the second; watchdog's 500 ms holds back all later events."""
_GIT_LIMIT_SECONDS = 10.0
_MANY = 2_000
"""From this number of doubtful paths on, everything is looked at."""
_NO_EVENTS = frozenset(
    (
        "9p",
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "drvfs",
        "vboxsf",
        "prl_fs",
        "afs",
        "ceph",
        "fuse.sshfs",
        "fuse.grpcfuse",
    )
)
"""File systems whose changes made elsewhere send no events here (WSL's /mnt/c is 9p: microsoft/WSL#4739)."""
_LIMITS = {
    errno.ENOSPC: ("fs.inotify.max_user_watches", 524288),
    errno.EMFILE: ("fs.inotify.max_user_instances", 512),
}


def open_watcher(
    roots: Sequence[Root],
    ignore: Ignore,
    report: Reporter,
    *,
    kind: Literal["auto", "native", "polling"] = "auto",
    poll_seconds: float = 1.0,
) -> Watcher:
    """The watcher that works here; says so when it has to be the polling one."""

    def poll(reason: str, hint: str = "") -> Watcher:
        report(Notice("warning", f"{reason}: looking for changes every {poll_seconds:g} s instead", hint))
        return PollingWatcher(poll_seconds)

    if kind == "polling":
        return PollingWatcher(poll_seconds)
    if kind == "auto":
        for root in roots:
            system = file_system(root.folder)
            if system in _NO_EVENTS:
                return poll(f"{root.folder} is on {system}, which sends no file-change events")
    try:
        return NativeWatcher(roots, ignore)
    except OSError as error:
        variable, value = _LIMITS.get(error.errno or 0, ("", 0))
        if not variable:
            return poll(f"The system's file events do not work here ({error.strerror or error})")
        return poll(
            f"The system's limit of watched folders is reached ({variable})",
            f"sudo sysctl {variable}={value}  # keep it in /etc/sysctl.d/60-devenv.conf",
        )


class PollingWatcher:
    """Asks for a full look at regular intervals; the scan itself is cheap where nothing changed."""

    name = "polling"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._closed = threading.Event()

    def hints(self, timeout: float) -> Iterator[Hint]:
        """One hint to look at everything, after the interval."""
        del timeout
        if not self._closed.wait(self._seconds):
            yield Hint(None, time.monotonic())

    def close(self) -> None:
        """Ends a wait."""
        self._closed.set()


class _Doubt:
    """The paths that may differ, gathered by the watcher's threads for the one that asks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._paths: set[Path] = set()
        self._everything = False
        self._urgent = False
        self._first = 0.0
        self._latest = 0.0
        self._before = -1.0
        self._closed = False

    def add(self, paths: Sequence[Path], *, urgent: bool) -> None:
        """Notes paths; `urgent` when their state is final as far as can be told (closed, moved into place)."""
        now = time.monotonic()
        with self._changed:
            self._note(now)
            self._urgent |= urgent
            if len(self._paths) < _MANY:
                self._paths.update(paths)
            else:
                self._everything = True
            self._changed.notify_all()

    def everything(self) -> None:
        """Notes that events were lost, or that something happened that no path tells."""
        with self._changed:
            self._note(time.monotonic())
            self._everything = True
            self._changed.notify_all()

    def close(self) -> None:
        """Ends a wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, timeout: float) -> Hint | None:
        """The next burst, or None when there was none within `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._first or self._closed, timeout)
            if not self._first or self._closed:
                return None
            leading = self._first - self._before > 4 * QUIET_SECONDS
            while not (leading and self._urgent) and not self._closed:
                now = time.monotonic()
                left = min(self._latest + QUIET_SECONDS, self._first + CAP_SECONDS) - now
                if left <= 0:
                    break
                self._changed.wait(left)
            hint = Hint(None if self._everything else frozenset(self._paths), self._first)
            self._paths.clear()
            self._everything = self._urgent = False
            self._before, self._first = self._latest, 0.0
            return hint

    def _note(self, now: float) -> None:
        self._first = self._first or now
        self._latest = now


class NativeWatcher:
    """The operating system's file events, by watchdog.

    Raises:
        OSError: the system's limits do not allow it (ENOSPC: watches, EMFILE: instances).
    """

    def __init__(self, roots: Sequence[Root], ignore: Ignore) -> None:
        from watchdog.observers import Observer

        self._configured = {root.name: root.folder for root in roots}
        self._roots = {root.name: Path(os.path.realpath(root.folder)) for root in roots}
        self._ignore = ignore
        self._doubt = _Doubt()
        self._loggers = _Overflow(self._doubt)
        _shorten_move_delay()
        self._observer: BaseObserver = Observer()
        self.name = _NAMES.get(type(self._observer).__name__, "native")
        self._watches: dict[str, tuple[ObservedWatch, tuple[int, int]]] = {}
        self._links: dict[Path, ObservedWatch] = {}
        """Folder → the watch that tells when a link in it, on the way to a root, is pointed elsewhere."""
        self._observer.start()
        try:
            self._follow_roots()
            if self._unwatched_folders():
                raise OSError(errno.ENOSPC, "inotify watch limit reached")
        except OSError:
            self.close()
            raise

    def hints(self, timeout: float) -> Iterator[Hint]:
        """The next burst of changes, when one begins within `timeout` seconds."""
        hint = self._doubt.take(timeout)
        moved = (hint is None or hint.paths is None) and self._follow_roots()
        if hint is not None:
            yield hint
        elif moved:
            yield Hint(None, time.monotonic())

    def close(self) -> None:
        """Ends watchdog's threads."""
        self._doubt.close()
        self._loggers.detach()
        with contextlib.suppress(RuntimeError):
            self._observer.stop()
            self._observer.join(5)

    def _follow_roots(self) -> bool:
        """Watches roots that came (back), lets go of those that went; True when one did either."""
        changed = False
        self._roots = {name: Path(os.path.realpath(folder)) for name, folder in self._configured.items()}
        self._follow_links()
        for name, place in self._roots.items():
            try:
                status = place.stat()
                identity: tuple[int, int] | None = (status.st_dev, status.st_ino)
            except OSError:
                identity = None
            watched = self._watches.get(name)
            if (watched[1] if watched else None) == identity:
                continue
            changed = True
            if watched:
                del self._watches[name]
                with contextlib.suppress(KeyError, OSError):
                    self._observer.unschedule(watched[0])
            if identity:
                self._watches[name] = (self._schedule(name, place), identity)
        return changed

    def _follow_links(self) -> None:
        """Watches the folders that hold a link on the way to a root, which git-sync, for one, points elsewhere."""
        from watchdog import events

        holders: dict[Path, set[str]] = {}
        for folder in self._configured.values():
            for part in (folder, *folder.parents):
                if part.is_symlink():
                    holders.setdefault(Path(os.path.realpath(part.parent)), set()).add(part.name)
        for place in set(self._links) - set(holders):
            with contextlib.suppress(KeyError, OSError):
                self._observer.unschedule(self._links.pop(place))
        for place, names in holders.items():
            if place in self._links:
                continue

            class Handler(events.FileSystemEventHandler):
                def dispatch(_, event: FileSystemEvent, names: set[str] = names) -> None:  # noqa: N805
                    if {Path(os.fsdecode(raw)).name for raw in (event.src_path, event.dest_path) if raw} & names:
                        self._doubt.everything()

            with contextlib.suppress(OSError):  # noticed a second later, by `_follow_roots`
                self._links[place] = self._observer.schedule(Handler(), str(place), recursive=False)

    def _schedule(self, name: str, place: Path) -> ObservedWatch:
        from watchdog import events

        class Handler(events.FileSystemEventHandler):
            def dispatch(_, event: FileSystemEvent) -> None:  # noqa: N805 (self is the watcher)
                self._noticed(name, place, event)

        wanted: list[type[FileSystemEvent]] = [
            events.FileCreatedEvent,
            events.FileModifiedEvent,
            *([events.FileAttribEvent] if hasattr(events, "FileAttribEvent") else []),  # to watchdog 6 it is "modified"
            events.FileMovedEvent,
            events.FileDeletedEvent,
            events.FileClosedEvent,
            events.DirCreatedEvent,
            events.DirMovedEvent,
            events.DirDeletedEvent,
        ]
        return self._observer.schedule(Handler(), str(place), recursive=True, event_filter=wanted)

    def _noticed(self, name: str, place: Path, event: FileSystemEvent) -> None:
        """Called in watchdog's thread, which an exception would end."""
        try:
            paths = []
            final = event.event_type == "closed"
            for raw, arrived in ((event.src_path, False), (event.dest_path, True)):
                path = Path(os.fsdecode(raw)) if raw else None
                if path is None or self._ignored(name, place, path, is_folder=event.is_directory):
                    continue
                paths.append(path)
                final |= arrived
            if paths:
                self._doubt.add(paths, urgent=final or not _TELLS_CLOSE)
        except Exception:  # noqa: BLE001 (whatever it was, a full look makes up for it)
            self._doubt.everything()

    def _ignored(self, name: str, place: Path, path: Path, *, is_folder: bool) -> bool:
        try:
            relative = path.relative_to(place).as_posix()
        except ValueError:
            return False
        return relative != "." and self._ignore.any_part(f"{name}/{relative}", is_folder=is_folder)

    def _unwatched_folders(self) -> bool:
        """Whether the kernel watches fewer folders than there are.

        watchdog 7.1 passes over folders below the root for which inotify has no watch left.
        """
        if self.name != "inotify":
            return False
        watched = 0
        for file in Path("/proc/self/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                watched += sum(line.startswith("inotify ") for line in file.read_text().splitlines())
        return watched < sum(_count_folders(place) for place in self._roots.values())


class GitIndex:
    """Knows whether git is at work in the repository of a folder (a checkout holds `index.lock`)."""

    def __init__(self, folder: Path) -> None:
        self._lock = _index_lock(folder)

    def busy(self) -> bool:
        """Whether git is changing files now.

        A lock that is older than `_GIT_LIMIT_SECONDS` was left by a git that was killed, or is that of a commit whose
        message is being written.
        """
        if self._lock is None:
            return False
        try:
            return abs(time.time() - self._lock.stat().st_mtime) < _GIT_LIMIT_SECONDS
        except OSError:
            return False

    def wait(self, stop: threading.Event) -> bool:
        """Waits until git is done; True when there was something to wait for."""
        if not self.busy():
            return False
        while self.busy() and not stop.wait(0.01):
            pass
        return True


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on, "" where that cannot be told (only Linux says)."""
    place = os.path.realpath(folder)
    best, found = "", ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split(" ")
            mount = fields[4].replace("\\040", " ")
            inside = mount in ("/", place) or place.startswith(mount + "/")
            if inside and len(mount) >= len(best):
                best, found = mount, fields[fields.index("-") + 1]
    return found


_TELLS_CLOSE = sys.platform.startswith("linux")
_NAMES = {"InotifyObserver": "inotify", "FSEventsObserver": "FSEvents", "KqueueObserver": "kqueue"}


class _Overflow(logging.Handler):
    """Hears watchdog say in its log that events were lost; its handlers are not told (watchdog 7.1.0)."""

    def __init__(self, doubt: _Doubt) -> None:
        super().__init__(logging.WARNING)
        self._doubt = doubt
        self._logger = logging.getLogger("watchdog")
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Any warning of watchdog's is a reason to look at everything."""
        del record
        self._doubt.everything()

    def detach(self) -> None:
        """Hears no more."""
        self._logger.removeHandler(self)


def _count_folders(place: Path) -> int:
    return sum(1 for _ in os.walk(place))


def _shorten_move_delay() -> None:
    with contextlib.suppress(ImportError, AttributeError):
        from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

        InotifyMoveEventGrouper.delay = _MOVE_SECONDS


def _index_lock(folder: Path) -> Path | None:
    for above in (folder, *folder.parents):
        git = above / ".git"
        if git.is_dir():
            return git / "index.lock"
        if git.is_file():  # a worktree, or a submodule
            with contextlib.suppress(OSError):
                target = git.read_text().partition("gitdir:")[2].strip()
                return (above / target) / "index.lock"
    return None
