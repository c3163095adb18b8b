"""What stands in a virtual environment of Airflow: written when it is complete, shown by `devenv config --packages`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from devenv.files import write_whole

_NAME = ".devenv-installed.json"


@dataclass(frozen=True)
class Installed:
    """One virtual environment.

    Attributes:
        release: Airflow's.
        limits: which packages were allowed beside it: "constraints", "until 2025-08-30T15:56:11Z", or "none".
        requirements: the same of `requirements.txt`; "" where the project has none.
        packages: name → version, as `uv pip list` gives them.
    """

    release: str
    limits: str
    requirements: str
    packages: dict[str, str]


def write(folder: Path, installed: Installed) -> None:
    """Records what was installed."""
    write_whole(folder / _NAME, json.dumps(asdict(installed), indent=1))


def read(folder: Path) -> Installed | None:
    """The record of a virtual environment; None where there is none that can be read."""
    try:
        return Installed(**json.loads((folder / _NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
