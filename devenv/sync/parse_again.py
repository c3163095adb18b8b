"""A request, left by another command, that a watch parse the DAG files again: something that they read has changed."""

from __future__ import annotations

import contextlib
from pathlib import Path

_REQUEST = "parse-again"


def leave_request(state_folder: Path) -> None:
    """Has the watch of this project, where there is one, parse all DAG files again, the broken ones first."""
    with contextlib.suppress(OSError):  # without a state folder there is no watch either
        (state_folder / _REQUEST).touch()


def take_request(state_folder: Path) -> bool:
    """Whether a request was left since the last look; it counts once."""
    try:
        (state_folder / _REQUEST).unlink()
    except OSError:
        return False
    return True
