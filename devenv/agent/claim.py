"""Writing into the claim so that no reader ever sees half a file and nothing outside the synced roots is touched.

Each path is walked from the claim's own descriptor, name by name, without following links. A file is written under
a temporary name beside its place (dot-prefixed, not `.py`, so Airflow does not list it), compared with the
promised digest, and renamed over the old one, whose version stays intact when anything fails.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import stat
import threading
import time
from typing import Any, Callable, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from devenv.agent.frames import safe_parts
from devenv.agent.ledger import Held, Ledger
from devenv.agent.lock import ClaimLock
from devenv.agent.refusal import Refused, refusal

STATE = ".devenv"
_TEMPORARY = ".devenv-"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH_LIMIT = 100
_JOURNAL_LINES = 20_000


class Claim:
    """The synced roots below one folder. Its methods may be called from several threads."""

    def __init__(self, folder: str, roots: Sequence[str], owner: Mapping[str, Any], *, take_over: bool = False) -> None:
        """Takes the claim (see `ClaimLock`), and compares what is on record with the disk.

        Raises:
            Refused: the claim is another's, not there or not writable, or a root's name is unsafe.
        """
        self._guard = threading.RLock()
        self._parent: Optional[Tuple[Tuple[str, ...], int]] = None
        self.mark, self.numbers = os.urandom(6).hex(), itertools.count()
        self.roots = tuple(roots)
        for root in self.roots:
            if len(safe_parts(root)) != 1 or root == STATE:
                raise Refused("unsafe", f"{root!r} is no name of a root")
        try:
            self._base = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._state = self._enter(self._base, STATE, 0o700)
            self._lock = ClaimLock(self._state, owner, take_over=take_over)
            for root in self.roots:
                os.close(self._enter(self._base, root, 0o755))
            self.ledger = Ledger(self._state)
            self._folds_case = self._probe_case()
            self.verify()
        except OSError as error:
            why = refusal(error)
            raise Refused(why.reason, f"the claim at {folder} cannot be used: {error.strerror}") from error

    def close(self) -> None:
        """Writes the ledger and lets go of everything, the lock last."""
        with self._guard:
            self.settle()
            self.ledger.close()
            self._lock.close()
            os.close(self._state)
            os.close(self._base)

    def settle(self) -> None:
        """The end of a batch: keeps no folder open that somebody may want to remove."""
        with self._guard:
            self._keep_none()
            self.ledger.compact(least=_JOURNAL_LINES)

    # What the claim holds

    def verify(self) -> None:
        """Compares the ledger with the disk; reads only files whose size, time or inode differ from the record.

        Removes temporary files of a killed agent on the way.
        """
        with self._guard:
            self.settle()
            seen: Set[str] = set()
            for root in self.roots:
                folder = os.open(root, _FOLDER_FLAGS, dir_fd=self._base)
                self._verify_folder(folder, root, seen, 0)
            for path in self.ledger.paths():
                if path not in seen:
                    self.ledger.record(path, None)
            self.ledger.compact()

    def _verify_folder(self, folder: int, path: str, seen: Set[str], depth: int) -> None:
        below: List[str] = []
        try:
            with os.scandir(folder) as found:
                for item in found:
                    name, place = item.name, f"{path}/{item.name}"
                    if name.startswith(_TEMPORARY) and name.endswith(".tmp"):
                        with contextlib.suppress(OSError):
                            os.unlink(name, dir_fd=folder)
                    elif item.is_dir(follow_symlinks=False):
                        held = self.ledger.get(place)
                        if held is not None:
                            if held.kind == "folder":
                                seen.add(place)
                        below.append(name)
                    elif place in self.ledger and item.is_file(follow_symlinks=False):
                        if self._verify_file(folder, name, place, item.stat(follow_symlinks=False)):
                            seen.add(place)
            if depth < _DEPTH_LIMIT:
                for name in below:
                    with contextlib.suppress(OSError):
                        inner = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
                        self._verify_folder(inner, f"{path}/{name}", seen, depth + 1)
        finally:
            os.close(folder)

    def _verify_file(self, folder: int, name: str, path: str, now: os.stat_result) -> bool:
        held = self.ledger.get(path)
        assert held is not None
        executable = bool(now.st_mode & stat.S_IXUSR)
        same = (held.kind, held.size, held.modified, held.inode) == ("file", now.st_size, now.st_mtime_ns, now.st_ino)
        if same and held.executable == executable:
            return True
        try:
            digest = held.digest if same else _digest(name, folder)
        except OSError:
            return False
        self.ledger.record(path, Held("file", digest, now.st_size, executable, now.st_mtime_ns, now.st_ino))
        return True

    # Changes

    def make_folder(self, path: str) -> None:
        """Makes a folder and those above it; a file of ours in its place gives way.

        Raises:
            Refused: and nothing changed.
        """
        with self._guard, _explained():
            self._folder_at(self._parts(path))

    def put(self, path: str, digest: str, *, executable: bool) -> Writing:
        """Begins to write a file; nothing is seen of it before `Writing.finish`.

        Raises:
            Refused: and nothing changed.
        """
        with self._guard, _explained():
            parts = self._parts(path)
            return Writing(self, parts, self._folder_at(parts[:-1]), digest, executable=executable)

    def set_mode(self, path: str, *, executable: bool) -> None:
        """Sets or clears the executable bit of a file of ours.

        Raises:
            Refused: and nothing changed.
        """
        with self._guard, _explained():
            parts = self._parts(path)
            held = self.ledger.get(path)
            if held is None or held.kind != "file":
                raise Refused("failed", "devenv put no such file there")
            target = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._folder_at(parts[:-1]))
            try:
                os.fchmod(target, 0o755 if executable else 0o644)
            finally:
                os.close(target)
            self.ledger.record(path, held._replace(executable=executable))

    def delete(self, path: str) -> None:
        """Removes a file or an empty folder that devenv put there; one that is gone already is no mistake.

        A folder that holds files of others stays, and is no longer ours.

        Raises:
            Refused: it is there and not ours, or cannot be removed.
        """
        with self._guard, _explained():
            parts = self._parts(path)
            held = self.ledger.get(path)
            try:
                folder = self._open_folder(parts[:-1])
                now = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                if held is not None:
                    self.ledger.record(path, None)
                return
            if held is None:
                raise Refused("failed", "it is not devenv's: only what devenv put there is removed")
            twin = self._twin(path)
            if twin is not None:
                os.rename(parts[-1], safe_parts(twin)[-1], src_dir_fd=folder, dst_dir_fd=folder)
            elif stat.S_ISDIR(now.st_mode):
                self._remove_folder(folder, parts[-1])
            else:
                os.unlink(parts[-1], dir_fd=folder)
                _remove_bytecode(folder, parts[-1])
            self.ledger.record(path, None)

    def touch(self, path: str) -> bool:
        """Sets a file's time to now, never to an earlier one; False when there is no such file."""
        with self._guard:
            parts = safe_parts(path)
            if len(parts) < 2 or parts[0] not in self.roots:
                return False
            try:
                folder = self._open_folder(parts[:-1])
                now = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISREG(now.st_mode):
                    return False
                modified = later(now.st_mtime_ns)
                os.utime(parts[-1], ns=(modified, modified), dir_fd=folder, follow_symlinks=False)
                held = self.ledger.get(path)
                if held is not None:
                    self.ledger.record(path, held._replace(modified=modified))
            except OSError:
                return False
            return True

    # Walking

    def _parts(self, path: str) -> Tuple[str, ...]:
        parts = safe_parts(path)
        if len(parts) < 2 or parts[0] not in self.roots or parts[-1].startswith(_TEMPORARY):
            raise Refused("unsafe", "this path is not below a synced folder")
        return parts

    def _open_folder(self, parts: Tuple[str, ...]) -> int:
        """The descriptor of a folder that exists; the claim keeps it for the next file in the same folder."""
        if self._parent is not None and self._parent[0] == parts:
            return self._parent[1]
        current = self._base
        try:
            for name in parts:
                inner = os.open(name, _FOLDER_FLAGS, dir_fd=current)
                if current != self._base:
                    os.close(current)
                current = inner
        except OSError:
            if current != self._base:
                os.close(current)
            raise
        self._keep(parts, current)
        return current

    def _keep(self, parts: Tuple[str, ...], folder: int) -> None:
        self._keep_none()
        self._parent = (parts, folder)

    def _keep_none(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None

    def _folder_at(self, parts: Tuple[str, ...]) -> int:
        """Like `_open_folder`, and makes what is missing.

        A folder that is there already and not ours becomes ours: something of ours is in it from now on, and the laptop
        counts it among what it sent.
        """
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = self._open_folder(parts)
            for depth in range(2, len(parts) + 1):
                path = "/".join(parts[:depth])
                if path not in self.ledger:
                    self.ledger.record(path, Held("folder"))
            return found
        current = os.dup(self._base)
        try:
            for depth, name in enumerate(parts, 1):
                path = "/".join(parts[:depth])
                inner = self._enter_or_make(current, name, path, ours=depth > 1)
                os.close(current)
                current = inner
        except (OSError, Refused):
            os.close(current)
            raise
        self._keep(parts, current)
        return current

    def _enter_or_make(self, folder: int, name: str, path: str, *, ours: bool) -> int:
        try:
            found = os.open(name, _FOLDER_FLAGS, dir_fd=folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise Refused("unsafe", f"{path} is a link; devenv does not follow links in the volume") from error
            if path not in self.ledger:
                raise Refused("failed", f"{path} is a file that devenv did not put there") from error
            os.unlink(name, dir_fd=folder)
            _remove_bytecode(folder, name)
        else:
            if ours and path not in self.ledger:
                self.ledger.record(path, Held("folder"))
            return found
        if ours:
            self.ledger.record(path, Held("folder"))
        return self._enter(folder, name, 0o755)

    @staticmethod
    def _enter(folder: int, name: str, mode: int) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=folder)
        return os.open(name, _FOLDER_FLAGS, dir_fd=folder)

    def _remove_folder(self, parent: int, name: str) -> None:
        folder = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        try:
            _remove_cache(folder)
        finally:
            os.close(folder)
        try:
            os.rmdir(name, dir_fd=parent)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        self._keep_none()  # what is kept open may be the folder that is gone

    def clear(self, parent: int, name: str, path: str) -> None:
        """Removes a folder of ours that a file of the same name replaces.

        Raises:
            Refused: something in it is not ours; then nothing was removed.
        """
        folder = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        try:
            found = list(self._contents(folder, path, 0))
        finally:
            os.close(folder)
        for _name, place, _is_folder in found:
            if place not in self.ledger:
                raise Refused(
                    "failed", f"{path} is a folder in the volume, with {place}, which devenv did not put there"
                )
        for inner, place, is_folder in found:  # the deepest first
            holder = self._open_folder(safe_parts(place)[:-1])
            if is_folder:
                self._remove_folder(holder, inner)
            else:
                os.unlink(inner, dir_fd=holder)
            self.ledger.record(place, None)
        self._remove_folder(parent, name)
        if path in self.ledger:
            self.ledger.record(path, None)

    def _contents(self, folder: int, path: str, depth: int) -> Iterator[Tuple[str, str, bool]]:
        with os.scandir(folder) as found:
            items = list(found)
        for item in items:
            if item.name == "__pycache__":
                continue
            place = f"{path}/{item.name}"
            is_folder = item.is_dir(follow_symlinks=False)
            if is_folder and depth < _DEPTH_LIMIT:
                inner = os.open(item.name, _FOLDER_FLAGS, dir_fd=folder)
                try:
                    yield from self._contents(inner, place, depth + 1)
                finally:
                    os.close(inner)
            yield item.name, place, is_folder

    # A laptop's file system that takes a.py and A.py for the same file (the local backend on macOS)

    def _probe_case(self) -> bool:
        try:
            os.stat(STATE.upper(), dir_fd=self._base, follow_symlinks=False)
        except OSError:
            return False
        return True

    def _twin(self, path: str) -> Optional[str]:
        if not self._folds_case:
            return None
        folded = path.casefold()
        return next((other for other in self.ledger.paths() if other != path and other.casefold() == folded), None)


class Writing:
    """A file that is being written under a temporary name."""

    def __init__(self, claim: Claim, parts: Tuple[str, ...], folder: int, digest: str, *, executable: bool) -> None:
        self._claim = claim
        self._parts = parts
        self._promised = digest
        self._executable = executable
        self._hash = hashlib.sha256()
        self._size = 0
        # Of its own: the claim's may be another by the time that the last chunk of a large file is here.
        self._folder = os.dup(folder)
        self._temporary = f"{_TEMPORARY}{claim.mark}-{next(claim.numbers)}.tmp"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._target = os.open(self._temporary, flags, 0o600, dir_fd=self._folder)
        except OSError:
            os.close(self._folder)
            raise

    def write(self, data: bytes) -> None:
        """Adds bytes.

        Raises:
            Refused: the disk is full, for instance; the temporary file is gone.
        """
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._target, view) :]
        except OSError as error:
            self.abandon()
            raise refusal(error) from error
        self._hash.update(data)
        self._size += len(data)

    def finish(self) -> None:
        """Compares the digest and renames the file over the old one.

        Raises:
            Refused: the content is not the promised one, or the rename failed; the old version is intact.
        """
        name, path = self._parts[-1], "/".join(self._parts)
        digest = self._hash.hexdigest()
        claim = self._claim
        with claim._guard, _explained():  # noqa: SLF001
            try:
                if digest != self._promised:
                    raise Refused("changed", "the file changed while it was sent")
                os.fchmod(self._target, 0o755 if self._executable else 0o644)
                before = _stat(name, self._folder)
                if before is not None and stat.S_ISDIR(before.st_mode):
                    claim.clear(self._folder, name, path)
                now = os.fstat(self._target)
                modified = now.st_mtime_ns
                if before is not None and before.st_mtime_ns >= modified:
                    modified = later(before.st_mtime_ns)
                    os.utime(self._target, ns=(modified, modified))
                claim.ledger.record(path, Held("file", digest, self._size, self._executable, modified, now.st_ino))
                os.replace(self._temporary, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
                if before is not None:
                    _remove_bytecode(self._folder, name)
            except BaseException:
                self.abandon()
                raise
            self._release()

    def abandon(self) -> None:
        """Removes the temporary file; the old version is intact."""
        if self._target < 0:
            return
        with contextlib.suppress(OSError):
            os.unlink(self._temporary, dir_fd=self._folder)
        self._release()

    def _release(self) -> None:
        os.close(self._target)
        os.close(self._folder)
        self._target = -1


def later(than: int, now: Callable[[], int] = time.time_ns) -> int:
    """Now, or a microsecond after `than` where the clock is not beyond it (nanoseconds)."""
    return max(now(), than + 1_000)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise refusal(error) from error


def _stat(name: str, folder: int) -> Optional[os.stat_result]:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _digest(name: str, folder: int) -> str:
    found = hashlib.sha256()
    with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb") as stream:
        for chunk in iter(lambda: stream.read(1_048_576), b""):
            found.update(chunk)
    return found.hexdigest()


def _remove_bytecode(folder: int, name: str) -> None:
    """Removes what Python compiled from a module that is gone or replaced: it would go on being imported."""
    stem, extension = os.path.splitext(name)
    if extension != ".py":
        return
    try:
        cache = os.open("__pycache__", _FOLDER_FLAGS, dir_fd=folder)
    except OSError:
        return
    try:
        for item in os.listdir(cache):
            if item.startswith(stem + ".") and item.endswith(".pyc"):
                with contextlib.suppress(OSError):
                    os.unlink(item, dir_fd=cache)
    finally:
        os.close(cache)


def _remove_cache(folder: int) -> None:
    """Removes the bytecode folder of a folder that is to be removed, when it holds nothing but bytecode."""
    try:
        cache = os.open("__pycache__", _FOLDER_FLAGS, dir_fd=folder)
    except OSError:
        return
    try:
        for item in os.listdir(cache):
            if item.endswith(".pyc"):
                with contextlib.suppress(OSError):
                    os.unlink(item, dir_fd=cache)
    finally:
        os.close(cache)
    with contextlib.suppress(OSError):
        os.rmdir("__pycache__", dir_fd=folder)
