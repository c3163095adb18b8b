"""What an origin answers: settings, and what cannot be taken over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Found:
    """A setting that the repository answers.

    Attributes:
        path: of the setting: `("sync", "folders")`, `("environment", "TEAM")`.
        value: what it is set to.
        source: what says so: `Dockerfile`, or `plugins/, include/ beside dags/`.
        below_env_file: whether `.env` goes over it, as a container's environment goes over its image's.
    """

    path: tuple[str, ...]
    value: Any
    source: str
    below_env_file: bool = False


@dataclass(frozen=True)
class NotTaken:
    """Something that an origin has and devenv does not take over.

    Attributes:
        what: it is: `services minio, mysql`.
        source: the file that has it.
        hint: what to do, or a command.
        packages: the Python packages that these are, as requirements.
        answers: what different files say about one setting.
    """

    what: str
    source: str
    hint: str
    packages: tuple[str, ...] = ()
    answers: tuple[Found, ...] = ()
