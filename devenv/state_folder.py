"""`.devenv/` of a project: believed only if devenv made it here, since a repository can bring one along.

What lies in a cloned `.devenv/` could be links that lead elsewhere: logs, a lock or an overlay would be written, or
removed, outside of the project. So the folder that devenv makes carries a random word, which the user's data folder
keeps too, and nothing in it may be a link.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from devenv.errors import RefusedError
from devenv.files import read_regular, write_whole

NAME = ".devenv"
_WORD = "made-by-devenv"
_KEPT = "state-folder"
_WORD_LIMIT = 100


class StateFolderForeign(RefusedError):
    """`.devenv/` in this project was not made by devenv for this user, or holds a link.

    It came with the repository, another user made it, or it was copied. devenv neither reads nor writes it, because
    what lies there may lead anywhere. It is a cache: remove it, and `devenv up` makes another.
    """

    code = "DEVENV-107"


def require_ours(folder: Path, data_folder: Path) -> None:
    """Refuses a state folder that devenv did not make; one that is not there is in order.

    Args:
        folder: `.devenv` of the project.
        data_folder: of the environment, in the user's own data.

    Raises:
        StateFolderForeign: as it says.
    """
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise _refused(folder, "is not a folder")
    if found.st_uid != os.geteuid():
        raise _refused(folder, "belongs to another user")
    if not _has_word(folder, data_folder):
        raise _refused(folder, "was not made by devenv here")
    link = _first_link(folder)
    if link is not None:
        raise _refused(folder, f"holds a link, {link.relative_to(folder)}")
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def make(folder: Path, data_folder: Path) -> Path:
    """Makes the state folder (0700) with its word, or checks the one that is there; gives it back.

    Raises:
        StateFolderForeign: it is not ours.
        OSError: there is no room, or no right.
    """
    require_ours(folder, data_folder)
    if not folder.exists():
        data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        word = secrets.token_hex(16)
        write_whole(data_folder / _KEPT, word)
        # A process of the environment, whose folder was deleted under it, may make it again just now.
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or _first_link(folder) is not None:
            raise _refused(folder, "was not made by devenv here")
        folder.chmod(0o700)
        write_whole(folder / _WORD, word)
        write_whole(folder / ".gitignore", "*\n")
    return folder


def _has_word(folder: Path, data_folder: Path) -> bool:
    try:
        here = read_regular(folder / _WORD, _WORD_LIMIT)
        kept = read_regular(data_folder / _KEPT, _WORD_LIMIT)
    except OSError:
        return False
    return bool(kept) and here == kept


def _first_link(folder: Path) -> Path | None:
    """A link among the entries, two levels deep: what lies deeper is opened by programs in a folder of their own."""
    for path in (*folder.iterdir(), *folder.glob("*/*")):
        if path.is_symlink():
            return path
    return None


def _refused(folder: Path, why: str) -> StateFolderForeign:
    return StateFolderForeign(f"{folder} {why}, so devenv does not use it", hint=f"rm -r {folder}")
