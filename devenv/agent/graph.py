"""Which DAG file depends on which other files, learnt from each parse.

A DAG file depends on what it imported and opened, on folders that it listed (`dags/config/*.yaml`), and, when an import
failed, on every path where that module could come to be.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Set

from devenv.agent.places import Places


class Graph:
    """DAG file → what it depends on, and the way back."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._needs: Dict[str, Set[str]] = {}
        self._dependents: Dict[str, Set[str]] = {}

    def learn(self, file: str, result: Mapping[str, Any]) -> None:
        """Takes over what one parse of a file found."""
        self.forget(file)
        needs = set(result.get("files", ()))
        needs.update(folder + "/" for folder in result.get("folders", ()))
        for module in result.get("looked_for", ()):
            needs.update(self._candidates(module))
        self._needs[file] = needs
        for need in needs:
            self._dependents.setdefault(need, set()).add(file)

    def keep(self, file: str, earlier: Set[str]) -> None:
        """Adds what a file needed before: a parse that failed early has not come to its later imports."""
        self._needs.setdefault(file, set()).update(earlier)
        for need in earlier:
            self._dependents.setdefault(need, set()).add(file)

    def needs(self, file: str) -> Set[str]:
        """What a file depends on."""
        return set(self._needs.get(file, ()))

    def forget(self, file: str) -> None:
        """The file is gone."""
        for need in self._needs.pop(file, ()):
            found = self._dependents.get(need)
            if found is not None:
                found.discard(file)
                if not found:
                    del self._dependents[need]

    def dependents(self, path: str) -> Set[str]:
        """The DAG files that a change of this path concerns, itself not included."""
        folder = path.rpartition("/")[0]
        found = set(self._dependents.get(path, ())) | self._dependents.get(folder + "/", set())
        return found - {path}

    def is_helper(self, path: str) -> bool:
        """True when a DAG file imports or opens it."""
        return bool(self._dependents.get(path))

    def _candidates(self, module: str) -> Iterable[str]:
        """Where a module that is missing may be put (`utils.dates`: dags/utils/dates.py, dags/utils.py …)."""
        names = module.split(".")
        found: List[str] = []
        for root in self._places.folders:
            for depth in range(1, len(names) + 1):
                place = "/".join([root, *names[:depth]])
                found += [place + ".py", place + "/__init__.py"]
        return found
