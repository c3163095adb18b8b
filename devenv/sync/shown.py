"""How files of the synced folders are called where a person reads it: by the repository's own paths.

In a volume, in verdicts and in the journal the DAG folder is `dags`, whatever it is called in the repository, and the
further folders go by their last name. `pipelines/etl.py` is shown where these say `dags/etl.py`.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devenv.events import (
    Event,
    FileSkipped,
    FileSynced,
    Notice,
    PickedUp,
    VerdictCleared,
    VerdictReached,
)
from devenv.sync.roots import roots_of

if TYPE_CHECKING:
    from devenv.project import Project
    from devenv.verdict import Problem, Verdict


@dataclass(frozen=True)
class Shown:
    """The names of a project's synced folders in the repository.

    Attributes:
        folders: name of a synced root → its path from the project's folder, where that differs; "" for the project's
            folder itself.
    """

    folders: dict[str, str]

    @classmethod
    def of(cls, project: Project) -> Shown:
        """The names of a project; a folder outside of it keeps its name."""
        found: dict[str, str] = {}
        for root in roots_of(project):
            try:
                path = root.folder.resolve().relative_to(project.folder.resolve()).as_posix()
            except (ValueError, OSError):
                continue
            shown = "" if path == "." else path
            if shown != root.name:
                found[root.name] = shown
        return cls(found)

    def path(self, path: str) -> str:
        """`dags/etl.py` → `pipelines/etl.py`."""
        root, slash, rest = path.partition("/")
        if root not in self.folders:
            return path
        shown = self.folders[root]
        if not slash:
            return shown or "."
        return f"{shown}/{rest}" if shown else rest

    def text(self, text: str) -> str:
        """The same for the paths that stand in a text."""
        for root in self.folders:
            text = re.sub(rf"(?<![\w./-]){re.escape(root)}/[\w./-]+", lambda found: self.path(found[0]), text)
        return text

    def problem(self, problem: Problem) -> Problem:
        """A problem with the repository's paths."""
        if not self.folders:
            return problem
        return dataclasses.replace(
            problem, file=self.path(problem.file), message=self.text(problem.message), hint=self.text(problem.hint)
        )

    def verdict(self, verdict: Verdict) -> Verdict:
        """A verdict with the repository's paths."""
        if not self.folders:
            return verdict
        return dataclasses.replace(
            verdict,
            file=self.path(verdict.file),
            because=self.path(verdict.because),
            problems=tuple(self.problem(each) for each in verdict.problems),
        )

    def event(self, event: Event) -> Event:
        """An event with the repository's paths."""
        if not self.folders:
            return event
        if isinstance(event, VerdictReached):
            return dataclasses.replace(event, verdict=self.verdict(event.verdict))
        if isinstance(event, FileSynced):
            return dataclasses.replace(event, path=self.path(event.path), previous=self.path(event.previous))
        if isinstance(event, FileSkipped):
            return dataclasses.replace(event, path=self.path(event.path), reason=self.text(event.reason))
        if isinstance(event, (VerdictCleared, PickedUp)):
            return dataclasses.replace(event, path=self.path(event.path))
        if isinstance(event, Notice):
            return dataclasses.replace(event, message=self.text(event.message), hint=self.text(event.hint))
        return event
