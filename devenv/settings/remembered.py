"""The flags of the last `devenv up`: every later command is about the same environment, without repeating them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devenv.files import write_whole

_NAME = "flags.json"
_RELEASE = "release.json"


def remembered(data_folder: Path) -> dict[str, Any]:
    """Dotted setting → value, as `remember` noted them; empty when there is nothing, or nothing that can be read."""
    return _read(data_folder / _NAME)


def remember(data_folder: Path, flags: Mapping[str, Any]) -> None:
    """Notes the flags in place of those of the `up` before."""
    given = {name: value for name, value in flags.items() if value is not None}
    data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(data_folder / _NAME, json.dumps(given))


def chosen_release(data_folder: Path, asked: str) -> str:
    """The release that was taken for a series ("2.10" → "2.10.5"); "" when none was yet."""
    found = _read(data_folder / _RELEASE).get(asked)
    return found if isinstance(found, str) else ""


def choose_release(data_folder: Path, asked: str, release: str) -> None:
    """Notes which release was taken, so that another `up` does not move to a newer one."""
    if chosen_release(data_folder, asked) == release:
        return
    with contextlib.suppress(OSError):  # it is asked for again
        data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(data_folder / _RELEASE, json.dumps({asked: release}))


def forget(data_folder: Path) -> None:
    """The environment is gone: its flags and its release are too."""
    for name in (_NAME, _RELEASE):
        with contextlib.suppress(FileNotFoundError):
            (data_folder / name).unlink()


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return kept if isinstance(kept, dict) else {}
