"""The project: the folder that holds `devenv.toml` and the DAG folder, and who it is to a cluster."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from devenv.environment import Environment
from devenv.settings.schema import Settings


@dataclass(frozen=True)
class Project:
    """A project folder with its effective settings.

    Attributes:
        folder: absolute, links resolved.
        settings: what rules here.
        environment: streams, variables, clocks.
    """

    folder: Path
    settings: Settings
    environment: Environment

    @property
    def identifier(self) -> str:
        """The environment's name and a digest of the folder's path: what labels in a cluster carry.

        At most 50 characters, a valid label value: `shop-dags-1f3a9c07`.
        """
        name = self.settings.name or re.sub(r"[^a-z0-9]+", "-", self.folder.name.lower()).strip("-") or "project"
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]
        return f"{name[:40].rstrip('-')}-{digest}"

    @property
    def state_folder(self) -> Path:
        """`.devenv/`: a cache that may be deleted at any time (0700, ignored by git)."""
        return self.folder / ".devenv"

    @property
    def data_folder(self) -> Path:
        """What must survive a deleted `.devenv/`: a local database, seeds of secrets (0700)."""
        return self.environment.data_folder / "environments" / self.identifier

    @property
    def dag_folder(self) -> Path:
        """The DAG folder."""
        return self.folder / self.settings.sync.dags
