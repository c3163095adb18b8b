"""Plugins of Airflow in a synced folder: a process has those that were there when it started, so it starts again.

Modules in `plugins/` that define no `AirflowPlugin` (operators, hooks) are imported at each parse, and need nothing.
"""

from __future__ import annotations

import contextlib
import hashlib

from devenv.files import write_whole
from devenv.project import Project
from devenv.sync.roots import roots_of

FOLDER = "plugins"
_MARK = b"AirflowPlugin"
_REMEMBERED = "plugins"
_FILES_LIMIT = 2_000


def known_revision(project: Project) -> str:
    """The revision of the plugins that were synced last; it is part of what Airflow's processes run on."""
    with contextlib.suppress(OSError):
        return (project.state_folder / _REMEMBERED).read_text(encoding="utf-8").strip()
    return ""


def note_synced(project: Project) -> bool:
    """Remembers the plugins that are synced now; whether they differ from those before, so that `reconcile` is due."""
    now = _revision(project)
    if now == known_revision(project):
        return False
    write_whole(project.make_state_folder() / _REMEMBERED, now)
    return True


def _revision(project: Project) -> str:
    digest = hashlib.sha256()
    found = False
    for root in roots_of(project):
        if root.name != FOLDER:
            continue
        for number, path in enumerate(sorted(root.folder.rglob("*.py"))):
            if number >= _FILES_LIMIT:
                break
            with contextlib.suppress(OSError):
                content = path.read_bytes()
                if _MARK in content:
                    found = True
                    digest.update(str(path.relative_to(root.folder)).encode() + b"\0" + content)
    return digest.hexdigest()[:16] if found else ""
