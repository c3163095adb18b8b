"""The flags of the last `devenv up`: every later command is about the same environment, without repeating them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devenv.files import write_whole

_NAME = "flags.json"


def remembered(data_folder: Path) -> dict[str, Any]:
    """Dotted setting → value, as `remember` noted them; empty when there is nothing, or nothing that can be read."""
    try:
        kept = json.loads((data_folder / _NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def remember(data_folder: Path, flags: Mapping[str, Any]) -> None:
    """Notes the flags in place of those of the `up` before."""
    given = {name: value for name, value in flags.items() if value is not None}
    data_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(data_folder / _NAME, json.dumps(given))


def forget(data_folder: Path) -> None:
    """The environment is gone: its flags are too."""
    with contextlib.suppress(FileNotFoundError):
        (data_folder / _NAME).unlink()
