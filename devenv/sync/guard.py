"""Nothing is deleted by surprise: what must be asked before files are removed from a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devenv.errors import RefusedError
from devenv.sync.model import Manifest, Root
from devenv.sync.plan import Change
from devenv.sync.scan import Identity

_WORD = "deletes-are-meant"
_WINDOW_SECONDS = 60.0
_HANDFUL = 5
"""Fewer deletes than this are never asked about for being more than half."""


class DeletesHeld(RefusedError):
    """Removing so many files, or the reason for it, looks like an accident; they are kept until you say so.

    devenv stops when the synced folder is gone, empty, unmounted or another folder than before, and when more than
    half of the files would be deleted. Everything else goes on syncing. If the deletes are meant, `devenv sync --yes`
    carries them out, also beside a running watch; if not, bring the files back and nothing has happened.
    """

    code = "DEVENV-521"


@dataclass(frozen=True)
class Held:
    """Deletes that wait for a word.

    Attributes:
        paths: the files that would be deleted; a yes counts for just these.
        reason: one sentence for a person.
    """

    paths: frozenset[str]
    reason: str

    @property
    def question(self) -> str:
        """The reason, and what a yes does."""
        count = len(self.paths)
        files = "1 file" if count == 1 else f"{count} files"
        return f"{self.reason}. Delete {files} from the DAG volume?"

    def error(self) -> DeletesHeld:
        """The same as an error, for a command that cannot ask."""
        shown = sorted(self.paths)
        detail = "\n".join(shown[:10]) + (f"\n… and {len(shown) - 10} more" if len(shown) > 10 else "")
        return DeletesHeld(
            f"{self.reason}; nothing was deleted",
            hint="bring the files back, or run `devenv sync --yes` if the deletes are meant",
            detail=detail,
        )


class Guard:
    """Watches over the roots' identities from one scan to the next, and over how much is deleted within a minute.

    `rm -r` of a large folder is seen in pieces, each of them less than half of what is left.
    """

    def __init__(self, roots: Sequence[Root]) -> None:
        self._folders = {root.name: root.folder for root in roots}
        self._trusted: dict[str, Identity] = {}
        self._confirmed: frozenset[str] = frozenset()
        self._deleted: dict[str, float] = {}

    def check(
        self,
        found: Sequence[Change],
        local: Manifest,
        remote: Manifest,
        now: Mapping[str, Identity],
        at: float = 0.0,
    ) -> Held | None:
        """Whether the deletes among the changes must be asked about first.

        Args:
            found: the differences; a rename deletes nothing.
            local: what is to be there.
            remote: what the target holds.
            now: the identities of the roots, from the same scan.
            at: when that was, monotonic seconds.
        """
        self._deleted = {
            path: when
            for path, when in self._deleted.items()
            if at - when < _WINDOW_SECONDS and path not in local and path not in remote
        }
        deleted = frozenset(change.path for change in found if change.change == "deleted")
        if not deleted or deleted <= self._confirmed:
            return None
        reason = self._reason(deleted, local, remote, now)
        return Held(deleted, reason) if reason else None

    def confirm(self, paths: frozenset[str]) -> None:
        """A person said yes to these deletes, and to no others."""
        self._confirmed = paths

    def deleted(self, paths: Iterable[str], at: float) -> None:
        """These files were deleted from the target just now; those that a person said yes to do not count."""
        self._deleted.update(dict.fromkeys(set(paths) - self._confirmed, at))

    def carried_out(self, now: Mapping[str, Identity]) -> None:
        """The target is in step: the roots are trusted as they are, and no yes is left over."""
        self._trusted.update(now)
        self._confirmed = frozenset()

    def _reason(self, deleted: frozenset[str], local: Manifest, remote: Manifest, now: Mapping[str, Identity]) -> str:
        for name in sorted({path.partition("/")[0] for path in deleted}):
            folder = self._folders.get(name)
            if folder is None:
                continue  # no longer synced, which the settings say in so many words
            identity, trusted = now.get(name), self._trusted.get(name)
            if identity is None:
                return f"The folder {folder} is gone"
            if trusted is not None and identity[0] != trusted[0]:
                return f"The folder {folder} is on another file system than before: mounted, or no longer mounted"
            if trusted is not None and identity[1] != trusted[1]:
                return f"The folder {folder} was replaced by another one"
            if _files_in(remote, name) >= 2 and not _files_in(local, name):
                return f"The folder {folder} is empty"
        gone = len(deleted) + len(self._deleted)
        files = _files_in(remote) + len(self._deleted)
        if gone >= _HANDFUL and gone * 2 > files:
            within = " within a minute" if self._deleted else ""
            return f"{gone} of {files} files would be deleted{within}, more than half"
        return ""


def leave_word(state_folder: Path) -> None:
    """Tells the process that watches this project that the deletes which it holds are meant."""
    (state_folder / _WORD).touch()


def take_word(state_folder: Path) -> bool:
    """Whether such a word was left since the last look; it counts once."""
    try:
        (state_folder / _WORD).unlink()
    except OSError:
        return False
    return True


def _files_in(manifest: Manifest, root: str = "") -> int:
    prefix = f"{root}/" if root else ""
    return sum(entry.kind == "file" and path.startswith(prefix) for path, entry in manifest.items())
