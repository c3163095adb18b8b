"""`devenv cache`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from devenv.cli.context import console, session
from devenv.errors import ExitCode
from devenv.events import Notice

_SHELVES = ("airflow", "programs")
"""Folders of the cache that hold an entry each for a release, or a program."""


def command(
    *,
    clean: Annotated[bool, typer.Option("--clean", help="Remove what nothing that runs uses; asks first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """What devenv has installed and fetched, for all projects, and how much room it takes.

    All of it is made again when it is needed, which takes as long as the first time. Databases and secrets are
    elsewhere, and stay.

    Examples:
      devenv cache
      devenv cache --clean
    """
    import shutil

    from devenv.console.words import size

    out = console()
    folder = session().environment.cache_folder
    used = _used(folder)
    rows = []
    removable = []
    for entry in _entries(folder):
        room, in_use = _room(entry), any(path.is_relative_to(entry) for path in used)
        name = entry.relative_to(folder).as_posix()
        out.record("cache.entry", {"name": name, "bytes": room, "in_use": in_use})
        rows.append((name, size(room), "in use" if in_use else ""))
        if not in_use:
            removable.append((entry, room))
    out.print(str(folder))
    out.table(("what", "size", ""), rows)
    if not clean:
        return ExitCode.OK
    total = size(sum(room for _entry, room in removable))
    if not removable or not out.confirm(f"Remove {len(removable)} of them, {total}?", yes=yes):
        out.report(Notice("info", "nothing was removed"))
        return ExitCode.OK if not removable else ExitCode.REFUSED
    freed = 0
    for entry, room in removable:
        with _alone(entry) as free:
            if free:
                shutil.rmtree(entry, ignore_errors=True)
                freed += room
    out.report(Notice("info", f"removed {size(freed)}"))
    return ExitCode.OK


def _entries(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_dir():
            continue
        if path.name in _SHELVES:
            yield from (below for below in sorted(path.iterdir()) if below.is_dir() and not below.is_symlink())
        else:
            yield path


def _room(entry: Path) -> int:
    total = 0
    for place, _folders, files in os.walk(entry):
        for name in files:
            with contextlib.suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total


def _used(folder: Path) -> set[Path]:
    """What of the cache processes were started from."""
    import psutil

    found: set[Path] = set()
    for process in psutil.process_iter(["exe", "cmdline"]):
        words = [process.info["exe"] or "", *(process.info["cmdline"] or ())]
        found |= {Path(word) for word in words if word.startswith(f"{folder}{os.sep}")}
    return found


@contextlib.contextmanager
def _alone(entry: Path) -> Iterator[bool]:
    """Whether no other devenv makes this entry just now; for the time of the context none begins to."""
    import fcntl

    from devenv.local.virtualenv import lock_of

    with lock_of(entry).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
