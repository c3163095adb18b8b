# Path objects would make the scan of 10,000 files three times as slow.
# ruff: noqa: PTH116, PTH118
"""What the synced folders contain now: the truth that a watcher's hints only point at.

A file is hashed again when its size, times, inode or mode changed, when a hint named it, or when it was hashed so soon
after its last modification that a later one may carry the same time (git calls such an entry racily clean). A file
is taken only when it is the same before and after it was read, and, where the system can tell (Linux), when nobody is
writing it: a slow download would otherwise be sent in pieces.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import signal
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from devenv.sync.ignore import Ignore
from devenv.sync.model import Entry, Manifest, Root

_CHUNK = 1 << 20
_RACY_NANOSECONDS = 2_000_000_000
"""The coarsest timestamps of a file system in use (FAT); git's rule for racily clean entries."""
_EMPTY_SECONDS = 0.1
"""A file that became empty this recently is most often a save between its truncation and its content."""
_WRITING_SECONDS = 10.0
"""A file that somebody holds open and changes for longer than this is taken as it is: a log never comes to rest."""
SIZE_LIMIT = 1 << 30
"""Bytes; a file is in memory while it is sent."""
_VIRTUAL_ENVIRONMENT = "pyvenv.cfg"
"""Marks the folder of a virtual environment, whatever it is called (PEP 405)."""
_PARTIAL_LIMIT = 200
"""More folders than this are looked at with a full scan."""
_ATTEMPTS = 3
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_Key = tuple[int, int, int, int, int]
Identity = tuple[int, int]
"""Device and inode of a folder: another one is another folder, however it is named."""


@dataclass(frozen=True)
class Scan:
    """What was found.

    Attributes:
        entries: every file and folder that is to be sent, the roots' own folders not included.
        skipped: path → why it is not sent, for a person.
        unknown: paths of which nothing can be said now, because they cannot be read or are being written; what a
            target holds at or below them stays.
        unsettled: those of `unknown` that are worth another look within tens of milliseconds.
        roots: root's name → its folder's identity; a root that is not there is missing.
    """

    entries: Manifest
    skipped: Mapping[str, str]
    unknown: frozenset[str]
    unsettled: frozenset[str]
    roots: Mapping[str, Identity]


@dataclass(frozen=True)
class _Known:
    key: _Key
    entry: Entry
    racy: bool
    dag_like: bool


@dataclass(frozen=True)
class _Folder:
    """A folder on the way of a scan: its path in the target, its place on the disk, and what it is inside of."""

    path: str
    place: str
    root: str
    above: tuple[str, ...] = ()
    """The real places of the folders above it; a link to one of them would never end."""


@dataclass
class _Found:
    skipped: dict[str, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    unsettled: set[str] = field(default_factory=set)


class FileUnstable(Exception):
    """The file changed while it was read, again and again."""


class Scanner:
    """Scans the roots, remembering what did not change.

    Args:
        roots: the folders; one that does not exist is empty and missing in `Scan.roots`.
        ignore: what is left out.
        now: seconds since the epoch.
    """

    def __init__(self, roots: Sequence[Root], ignore: Ignore, now: Callable[[], float] = time.time) -> None:
        self._roots = {root.name: os.path.realpath(root.folder) for root in roots}
        self._configured = {root.name: root.folder for root in roots}
        self._ignore = ignore
        self._now = now
        self._files: dict[str, _Known] = {}
        self._children: dict[str, set[str]] = {}
        self._places: dict[str, str] = {}
        """Links only: path → the real place."""
        self._writing: dict[str, float] = {}
        """Path → when a writer was first seen (seconds since the epoch)."""
        self._last = _Found()
        self._found = _Found()
        self._forced: frozenset[str] = frozenset()

    def scan(self, hints: Iterable[Path] | None = None) -> Scan:
        """Looks at the folders of the hinted paths, or (None) at everything."""
        folders = None if hints is None else self._folders_of(hints)
        self._found = _Found()
        if folders is None:
            self._forced = frozenset()
            self._roots = {name: os.path.realpath(folder) for name, folder in self._configured.items()}
            for name, place in self._roots.items():
                self._look(_Folder(name, place, place), deep=True)
        else:
            # What was skipped or unknown elsewhere still is.
            for path, reason in self._last.skipped.items():
                if path.rpartition("/")[0] not in folders:
                    self._found.skipped[path] = reason
            self._found.unknown |= {path for path in self._last.unknown if path.rpartition("/")[0] not in folders}
            self._found.unsettled |= self._last.unsettled & self._found.unknown
            for path in sorted(folders):
                if path not in self._children:
                    continue  # the look at the folder above found it gone
                name, _, rest = path.partition("/")
                place = self._roots[name]
                self._look(_Folder(path, os.path.join(place, rest) if rest else place, place), deep=False)
        self._last = self._found
        return self._result()

    def read(self, entry: Entry) -> bytes:
        """The content of a file that a scan found, as it is now.

        Raises:
            OSError: it is gone or cannot be read.
            FileUnstable: it is being written.
        """
        place = self._place(entry.path)
        for _ in range(_ATTEMPTS):
            with _opened(place) as descriptor:
                before = os.fstat(descriptor)
                with open(descriptor, "rb", closefd=False) as stream:
                    content = stream.read()
                if _same(before, os.stat(place)) and len(content) == before.st_size:
                    return content
        raise FileUnstable(entry.path)

    def is_dag_file(self, path: str) -> bool:
        """Whether Airflow's safe mode would take it for a file with DAGs: `dag` and `airflow` occur in it."""
        known = self._files.get(path)
        return known is not None and known.dag_like

    # ------------------------------------------------------------------------------------------------------- hints

    def _folders_of(self, hints: Iterable[Path]) -> set[str] | None:
        """The known folders whose listings a set of hinted paths makes doubtful; None for all."""
        if self._places:
            return None  # through a link one file has several paths
        folders: set[str] = set()
        forced: set[str] = set()
        for hint in hints:
            path = self._path_of(hint)
            if path is None:
                continue
            if "/" not in path:
                return None  # the root itself
            forced.add(path)
            if path in self._children:
                folders.add(path)
            parent = path.rpartition("/")[0]
            while parent not in self._children and "/" in parent:
                parent = parent.rpartition("/")[0]
            if parent not in self._children:
                return None
            folders.add(parent)
            if len(folders) > _PARTIAL_LIMIT:
                return None
        self._forced = frozenset(forced)
        return folders

    def _path_of(self, place: Path) -> str | None:
        text = str(place)
        for name, root in self._roots.items():
            for base in (root, str(self._configured[name])):
                if text == base:
                    return name
                if text.startswith(base + os.sep):
                    return f"{name}/{text[len(base) + 1 :].replace(os.sep, '/')}"
        return None

    def _place(self, path: str) -> str:
        if self._places:
            head = path
            while head:
                if head in self._places:
                    return self._places[head] + path[len(head) :]
                head = head.rpartition("/")[0]
        name, _, rest = path.partition("/")
        return os.path.join(self._roots[name], rest)

    # ------------------------------------------------------------------------------------------------------ the walk

    def _look(self, folder: _Folder, *, deep: bool) -> None:
        """Lists a folder; goes into folders that are new, or (deep) into all."""
        try:
            with os.scandir(folder.place) as listing:
                items = list(listing)
        except (FileNotFoundError, NotADirectoryError):
            self._forget(folder.path)
            return
        except OSError as error:
            self._cannot(folder.path, error)
            return
        if folder.path not in self._roots and any(item.name == _VIRTUAL_ENVIRONMENT for item in items):
            self._found.skipped[folder.path] = "a virtual environment (pyvenv.cfg)"
            self._forget(folder.path)
            return
        children: set[str] = set()
        files, forced, prefix = self._files, self._forced, f"{folder.path}/"
        for item in items:
            path = prefix + item.name
            try:
                known = files.get(path)
                unchanged = (
                    known is not None
                    and not known.racy
                    and path not in forced
                    and known.key == _key(item.stat(follow_symlinks=False))
                )
                if unchanged or self._take(folder, item, path, deep=deep):
                    children.add(path)
            except FileNotFoundError:  # gone between the listing and the look
                continue
        for gone in self._children.get(folder.path, set()) - children:
            if gone not in self._found.unknown:
                self._forget(gone)
        self._children[folder.path] = children

    def _take(self, folder: _Folder, item: os.DirEntry[str], path: str, *, deep: bool) -> bool:
        """Looks at one item of a folder; True when it belongs to what is sent."""
        if path not in self._files and path not in self._children:
            try:
                item.name.encode()
            except UnicodeEncodeError:
                shown = path.encode("utf-8", "replace").decode()
                self._found.skipped[shown] = "its name is not valid UTF-8"
                return False
        if item.is_symlink():
            return self._follow(folder, item, path)
        if item.is_dir(follow_symlinks=False):
            if path not in self._children and self._ignore(path, is_folder=True):
                return False
            self._replaced_by_folder(path)
            if deep or path not in self._children:
                self._children.setdefault(path, set())
                self._look(_Folder(path, item.path, folder.root, (*folder.above, folder.place)), deep=True)
            return True
        if path not in self._files and self._ignore(path, is_folder=False):
            return False
        return self._file(path, item.path, item.stat(follow_symlinks=False))

    def _follow(self, folder: _Folder, item: os.DirEntry[str], path: str) -> bool:
        """A symbolic link: its content when it stays inside the root, else skipped."""
        if self._ignore(path, is_folder=False) or self._ignore(path, is_folder=True):
            return False
        real = os.path.realpath(item.path)
        self._places.pop(path, None)
        try:
            status = os.stat(item.path)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOENT, errno.ENOTDIR):
                self._cannot(path, error)
                return path in self._files or path in self._children
            loop = error.errno == errno.ELOOP
            self._found.skipped[path] = "a link that leads to itself" if loop else "a link to nothing"
            return False
        if not (real == folder.root or real.startswith(folder.root + os.sep)):
            self._found.skipped[path] = "a link that leaves the synced folder"
            return False
        if not stat.S_ISDIR(status.st_mode):
            self._places[path] = real
            return self._file(path, real, status)
        here = (*folder.above, folder.place)
        if any(real == place or place.startswith(real + os.sep) for place in here):
            self._found.skipped[path] = "a link to a folder that contains it"
            return False
        self._replaced_by_folder(path)
        self._places[path] = real
        self._children.setdefault(path, set())
        self._look(_Folder(path, real, folder.root, (*here, real)), deep=True)
        return True

    def _file(self, path: str, place: str, status: os.stat_result) -> bool:
        if not stat.S_ISREG(status.st_mode):
            self._found.skipped[path] = f"{_kind(status.st_mode)}, not a file"
            return False
        if status.st_size > SIZE_LIMIT:
            self._found.skipped[path] = f"larger than {SIZE_LIMIT >> 30} GiB; a DAG folder is no place for data"
            return False
        if path in self._children:
            self._forget(path)
        known = self._files.get(path)
        key = _key(status)
        if known is not None and known.key == key and not known.racy and path not in self._forced:
            return True
        try:
            self._files[path] = self._hash(path, place)
        except FileUnstable:
            return self._unsettled(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._cannot(path, error)
            return path in self._files
        return True

    def _hash(self, path: str, place: str) -> _Known:
        """Reads a file that is the same before and after."""
        python = path.endswith(".py")
        for _ in range(_ATTEMPTS):
            digest = hashlib.sha256()
            length = 0
            dag_like = False
            with _opened(place) as descriptor:
                before = os.fstat(descriptor)
                newest = max(before.st_mtime_ns, before.st_ctime_ns)
                racy = int(self._now() * 1e9) - newest < _RACY_NANOSECONDS
                written = racy and _is_written(descriptor)
                # Of the open file, not of the listing: it may have been emptied since.
                if before.st_size == 0 and 0 <= self._now() - before.st_mtime < _EMPTY_SECONDS:
                    raise FileUnstable(path)
                while chunk := os.read(descriptor, _CHUNK):
                    digest.update(chunk)
                    length += len(chunk)
                    if python and not dag_like:
                        lower = chunk.lower()
                        dag_like = b"dag" in lower and b"airflow" in lower
                    if length > before.st_size:
                        break
            if length == before.st_size and _same(before, os.stat(place)):
                entry = Entry(
                    path, "file", digest.hexdigest(), before.st_size, executable=bool(before.st_mode & stat.S_IXUSR)
                )
                if not written:
                    self._writing.pop(path, None)
                elif self._writing.setdefault(path, self._now()) + _WRITING_SECONDS > self._now():
                    raise FileUnstable(path)
                return _Known(_key(before), entry, racy, dag_like)
        raise FileUnstable(path)

    # ------------------------------------------------------------------------------------------------------- records

    def _unsettled(self, path: str) -> bool:
        self._found.unknown.add(path)
        self._found.unsettled.add(path)
        return path in self._files

    def _cannot(self, path: str, error: OSError) -> None:
        self._found.unknown.add(path)
        self._found.skipped[path] = f"cannot be read: {(error.strerror or str(error)).lower()}"

    def _replaced_by_folder(self, path: str) -> None:
        self._files.pop(path, None)

    def _forget(self, path: str) -> None:
        self._files.pop(path, None)
        self._writing.pop(path, None)
        self._places.pop(path, None)
        for child in self._children.pop(path, ()):
            self._forget(child)

    def _result(self) -> Scan:
        entries: dict[str, Entry] = {path: Entry(path, "folder") for path in self._children if "/" in path}
        entries.update((path, known.entry) for path, known in self._files.items())
        identities: dict[str, Identity] = {}
        for name, place in self._roots.items():
            with contextlib.suppress(OSError):
                status = os.stat(place)
                if stat.S_ISDIR(status.st_mode):
                    identities[name] = (status.st_dev, status.st_ino)
        return Scan(
            entries,
            dict(self._found.skipped),
            frozenset(self._found.unknown),
            frozenset(self._found.unsettled),
            identities,
        )


@contextlib.contextmanager
def _opened(place: str) -> Iterator[int]:
    descriptor = os.open(place, _OPEN_FLAGS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_written(descriptor: int) -> bool:
    """Whether somebody has this file open for writing; False where that cannot be told.

    Linux refuses a read lease then (fcntl(2), `F_SETLEASE`), to whom the file belongs.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        # Who opens it for writing just now waits until the lease is back, and has us told by a signal that ends nobody.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


def _key(status: os.stat_result) -> _Key:
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode)


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return _key(before) == _key(after)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a pipe", stat.S_IFBLK: "a device", stat.S_IFCHR: "a device"}
    return kinds.get(stat.S_IFMT(mode), "something else")
