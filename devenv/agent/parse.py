"""One parse of one DAG file, in a process of its own: what the release's own file processor says, and what devenv adds.

Whether a file is broken is the word of the release's DagBag (`airflow.models.dagbag` up to 3.1,
`airflow.dag_processing.dagbag` from 3.2 on), plus what the file processor does before and after it: its check for
values that vary, serialising each DAG, and storing it (`devenv.agent.stored`). devenv adds the place, the excerpt and
the hint, and warnings that never make a file broken unless the settings say so.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import json
import os
import re
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

from devenv.agent import problems, stored, unseen
from devenv.agent.deprecated import deprecated_imports
from devenv.agent.ignored import Patterns
from devenv.agent.observe import Observer, elapsed, waited_for_cpu
from devenv.agent.places import Places
from devenv.agent.policies import breaches
from devenv.agent.preload import importable
from devenv.agent.problems import Problem, problem

_SLOW_MILLISECONDS = 1_000.0
_REPORTED_LIMIT = 20
_BAGS = ("airflow.models.dagbag", "airflow.dag_processing.")
"""Modules that turn an exception into the text of an import error."""


class Release(NamedTuple):
    """The Airflow that is imported here."""

    version: Tuple[int, ...]
    dag_bag: Any
    serializer: Any
    options: Dict[str, Any]
    """Arguments of DagBag that this release needs."""

    @property
    def forbids_database(self) -> bool:
        """Whether its file processor keeps DAG files from the metadata database (apache/airflow #60127)."""
        return self.version >= (3, 2)


def load_release(places: Places) -> Release:
    """Imports what a parse needs; takes seconds, so the warm process does it once."""
    import airflow
    from airflow.serialization import serialized_objects

    version = tuple(int(part) for part in re.findall(r"\d+", airflow.__version__)[:3])
    options: Dict[str, Any]
    if version >= (3,):
        from airflow.sdk.execution_time import context  # noqa: F401 (observed, like the two below)

        options = {"bundle_path": Path(places.dag_folder), "bundle_name": "dags-folder"}
    else:
        from airflow.models import connection, variable  # noqa: F401

        options = {"include_examples": False, "read_dags_from_db": False}
    if version >= (3, 2):
        for name in ("airflow.sdk.execution_time.supervisor", "airflow.utils.dag_version_inflation_checker"):
            importlib.import_module(name)
    serializer = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
    return Release(version, _dag_bag(options), serializer, options)


def _dag_bag(options: Dict[str, Any]) -> Any:
    """The class that loads DAG files, in the form that this release's file processor uses."""
    try:
        module: Any = importlib.import_module("airflow.dag_processing.dagbag")
    except ModuleNotFoundError:
        module = importlib.import_module("airflow.models.dagbag")
    if "bundle_path" not in options:
        return module.DagBag
    if "bundle_name" not in module.DagBag.__init__.__code__.co_varnames:  # before 3.2, the path alone is known
        del options["bundle_name"]
    bundled = getattr(module, "BundleDagBag", None)
    if bundled is not None:
        return bundled
    options["include_examples"] = False  # 3.0
    return module.DagBag


class Task(NamedTuple):
    """What to parse, and how."""

    file: str
    """As everywhere: `dags/etl.py`."""
    seconds: float
    safe_mode: Optional[bool]
    check: Mapping[str, Any]
    vault_mount: str
    """Where Variables and Connections lie in Vault, for hints."""


def parse(release: Release, places: Places, task: Task) -> Dict[str, Any]:
    """Parses the file and returns plain data: `dags`, `problems`, `milliseconds`, and what it read."""
    observer = Observer(places)
    last = next(reversed(sys.modules))
    loaded = _Loaded(release, places, task)
    observer.start(forbid_database=release.forbids_database)
    started, starved = time.perf_counter(), waited_for_cpu()
    ignored = Patterns(places, release.version).hides(task.file)
    if ignored is None:
        loaded.process()
    # A file is not slow because the machine is busy, nor because its turn comes after that of a save.
    milliseconds = max(0.0, elapsed(started) - (waited_for_cpu() - starved))
    observer.stop()
    found = loaded.problems(observer) if ignored is None else [ignored]
    if ignored is None and not any(one["severity"] == "error" for one in found):
        found += loaded.warnings(observer, milliseconds)
    imported = _imported_after(last)
    for module in imported:
        name = places.name(getattr(sys.modules[module], "__file__", None))
        if name is not None:
            observer.files.add(name)
    return {
        "dags": loaded.digests,
        "problems": found,
        "milliseconds": milliseconds,
        "files": sorted(observer.files - {task.file}),
        "folders": sorted(observer.folders),
        "looked_for": sorted(loaded.looked_for),
        "modules": importable(reversed(imported), places),
    }


def _imported_after(last: str) -> List[str]:
    """The modules that were imported since `last` was, which was the newest then.

    From the end, because to look at each of the thousands of names is to copy the memory that they lie in from the
    process that was forked: a tenth of a small file's time.
    """
    return list(itertools.takewhile(lambda name: name != last, reversed(sys.modules)))


class _Loaded:
    """A file that DagBag has processed, with what was caught on the way."""

    def __init__(self, release: Release, places: Places, task: Task) -> None:
        self._release = release
        self._places = places
        self._task = task
        self._path = places.path(task.file)
        self._caught: List[BaseException] = []
        self._refused: List[Tuple[Any, BaseException]] = []
        self._found: List[Problem] = []
        self._warned: List[Tuple[str, int, str, str]] = []
        self._dags: Dict[str, Any] = {}
        self._twice: Set[str] = set()
        self._errors: Dict[str, str] = {}
        self.digests: Dict[str, str] = {}
        self.looked_for: List[str] = []

    def process(self) -> None:
        """What the scheduler's file processor does: DagBag, then serialising."""
        if self._varies():
            return
        self._catch_exceptions()
        warnings.simplefilter("always")
        warnings.showwarning = self._showwarning  # type: ignore[assignment]
        try:
            bag = self._bag()(os.devnull, collect_dags=False, **self._release.options)
            bag.dagbag_import_error_tracebacks = True
            bag.process_file(self._path, only_if_updated=False, safe_mode=self._safe_mode())
        except SystemExit as error:  # 2.x: takes the scheduler's file processor down, without an import error
            self._caught.append(error)
            self._errors[self._path] = problems.summary(error)
            return
        self._dags = dict(bag.dags)
        self._errors.update(bag.import_errors)
        for lines in getattr(bag, "captured_warnings", {}).values():
            self._warned += [_parse_warning(line) for line in lines]
        for dag_id, dag in self._dags.items():
            self._store(dag_id, dag)

    def _varies(self) -> bool:
        """The check for values that differ at each parse; True when the release refuses the file for them."""
        checker: Any = sys.modules.get("airflow.utils.dag_version_inflation_checker")
        if checker is None:
            return False
        result = checker.check_dag_file_stability(self._path)
        if not result.warnings:
            return False
        refused = result.check_level.value == "error"
        for one in result.warnings.values():
            self._found.append(
                problem(
                    "varying-value",
                    f"{one.message}: each parse makes a new version of the DAG",
                    severity="error" if refused else "warning",
                    file=self._task.file,
                    line=one.line,
                    column=one.col + 1,
                    hint="Write a fixed value, or compute it in a task; "
                    "dag_version_inflation_check_level in [airflow.config.dag_processor] sets how strict Airflow is.",
                    places=self._places,
                )
            )
        if refused:
            self._errors[self._path] = result.format_warnings()
        return bool(refused)

    def _catch_exceptions(self) -> None:
        """Keeps the exceptions that DagBag turns into the text of an import error, and no others.

        A file that handles an exception may ask for its text too.
        """
        original = traceback.format_exc

        def format_exc(*arguments: Any, **named: Any) -> str:
            error = sys.exc_info()[1]
            asker = str(sys._getframe(1).f_globals.get("__name__"))  # noqa: SLF001
            if error is not None and asker.startswith(_BAGS):
                self._caught.append(error)
            return original(*arguments, **named)

        traceback.format_exc = format_exc

    def _bag(self) -> Any:
        dag_bag: Any = self._release.dag_bag
        refused, twice, bagged = self._refused, self._twice, {}  # type: ignore[var-annotated]

        class Bag(dag_bag):  # type: ignore[misc, unused-ignore]
            def bag_dag(self, dag: Any, *arguments: Any, **named: Any) -> Any:
                if bagged.setdefault(dag.dag_id, dag) is not dag:
                    twice.add(dag.dag_id)
                try:
                    return super().bag_dag(dag, *arguments, **named)
                except Exception as error:
                    refused.append((dag, error))
                    raise

        return Bag

    def _safe_mode(self) -> bool:
        if self._task.safe_mode is not None:
            return self._task.safe_mode
        from airflow.configuration import conf

        return bool(conf.getboolean("core", "DAG_DISCOVERY_SAFE_MODE"))

    def _store(self, dag_id: str, dag: Any) -> None:
        """Serialises a DAG, and judges whether the database takes it."""
        try:
            data = self._release.serializer.to_dict(dag)
            text = json.dumps(data, sort_keys=True, default=str)
        except Exception as error:
            self._refused.append((dag, error))
            self._errors[self._path] = problems.summary(error)
            self.digests[dag_id] = ""
            return
        self.digests[dag_id] = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
        for refusal in stored.refusals(dag, data, self._release.version):
            found = problem(refusal.rule, f"DAG {dag_id!r}: {refusal.message}", file=self._task.file, hint=refusal.hint)
            problems.place(found, refusal.task or dag_id, self._places)
            if not found["line"]:
                problems.place(found, dag_id, self._places)
            self._found.append(found)

    def _showwarning(self, message: Any, category: Any, filename: str, lineno: int, *_rest: Any) -> None:
        self._warned.append((filename, lineno, category.__name__, str(message)))

    # What is wrong

    def problems(self, observer: Observer) -> List[Problem]:
        """Errors: one per import error of the DagBag, and what the release's processor refuses besides."""
        found = [one for one in self._found if one["severity"] == "error"]
        for error in self._caught[:_REPORTED_LIMIT]:
            found.append(self._from(error, observer.missing))
            if isinstance(error, ImportError) and error.name:
                self.looked_for.append(error.name)
        for dag, error in self._refused[:_REPORTED_LIMIT]:
            found.append(self._refusal(dag, error))
        if self._errors and not found:
            found.append(self._unexplained(next(iter(self._errors.values()))))
        return list({(one["rule"], one["message"], one["file"], one["line"]): one for one in found}.values())

    def _from(self, error: BaseException, missing: Any = ()) -> Problem:
        return problems.from_exception(
            error,
            self._places,
            main=self._task.file,
            missing=missing,
            vault_mount=self._task.vault_mount,
            version=self._release.version,
        )

    def _refusal(self, dag: Any, error: BaseException) -> Problem:
        """A DAG that was built, and that Airflow does not take."""
        found = self._from(error)
        if found["rule"] == "parse-error":
            found["rule"] = "serialization-error" if dag.dag_id in self._dags else "invalid-dag"
        if found["rule"] == "cycle":
            cycle = _cycle(dag)
            found["message"] = f"DAG {dag.dag_id!r} has a cycle: {' → '.join(cycle)}" if cycle else found["message"]
        elif found["rule"] == "duplicate-dag-id":
            found["message"] = f"DAG id {dag.dag_id!r} is defined twice"
        elif "DAG" not in found["message"]:
            found["message"] = f"DAG {dag.dag_id!r}: {found['message']}"
        if not found["line"]:
            problems.place(found, dag.dag_id, self._places)
        return found

    def _unexplained(self, text: str) -> Problem:
        """An import error that no exception was seen for: its last line is the message."""
        last = text.strip().splitlines()[-1] if text.strip() else "the file does not parse"
        kind, _, message = last.partition(": ")
        if not re.fullmatch(r"[A-Za-z_.]+", kind):
            kind, message = "", last
        kind = kind.rpartition(".")[2]
        line, _what = unseen.looks_like_dag(self._places.text(self._task.file), ())
        return problem(
            problems.rule_of(kind), message or last, kind=kind, file=self._task.file, line=line, places=self._places
        )

    # What is worth knowing

    def warnings(self, observer: Observer, milliseconds: float) -> List[Problem]:
        """What does not keep the DAGs from running."""
        found = [one for one in self._found if one["severity"] != "error"]
        found += [*self._unseen(), *self._slow(observer, milliseconds), *self._calls(observer)]
        found += self._deprecated()
        for dag in self._dags.values():
            for breach in breaches(dag, self._task.check):
                one = problem(
                    breach.rule, breach.message, severity=breach.severity, file=self._task.file, hint=breach.hint
                )
                problems.place(one, breach.about, self._places)
                found.append(one)
            found += self._roles(dag)
        return found

    def _unseen(self) -> Iterator[Problem]:
        if not self._dags:
            found = unseen.why_no_dag(self._task.file, self._places, safe_mode=self._safe_mode())
            if found is not None:
                yield found
            return
        yield from unseen.uncalled(self._task.file, self._places, self._dags)
        for dag_id in sorted(self._twice):
            found = problem(
                "duplicate-dag-id",
                f"DAG id {dag_id!r} is defined twice in this file; Airflow keeps one of them",
                severity="warning",
                file=self._task.file,
                hint="Give each DAG an id of its own.",
            )
            problems.place(found, dag_id, self._places)
            yield found

    def _calls(self, observer: Observer) -> Iterator[Problem]:
        level = self._level("top_level_io")
        for file, line, whom in observer.calls if level else ():
            yield problem(
                "top-level-io",
                f"asks {whom} each time that the file is parsed",
                severity=level,
                file=file,
                line=line,
                hint="Move it into a task, or use a template: {{ var.value.NAME }}, {{ conn.NAME.host }}.",
                places=self._places,
            )

    def _roles(self, dag: Any) -> Iterator[Problem]:
        """Roles that do not exist, where Flask AppBuilder has them: 2.x refuses such a DAG when it stores it."""
        if self._release.version >= (3,) or not getattr(dag, "access_control", None):
            return
        known = _roles_of_database()
        for role in stored.unknown_roles(dag, known):
            found = problem(
                "unknown-role",
                f"DAG {dag.dag_id!r}: access_control names the role {role!r}; "
                + ("the scheduler refuses the DAG unless that role exists" if known is None else "it does not exist"),
                severity="warning" if known is None else "error",
                file=self._task.file,
                hint=f"devenv airflow roles create {role}",
            )
            problems.place(found, dag.dag_id, self._places)
            yield found

    def _level(self, name: str) -> str:
        level = self._task.check.get(name, "off")
        return level if level in ("warning", "error") else ""

    def _slow(self, observer: Observer, milliseconds: float) -> Iterator[Problem]:
        level = self._level("slow_top_level")
        if not level or milliseconds < _SLOW_MILLISECONDS:
            return
        file, line, callee, share = observer.slowest()
        whom = f", {share:.0%} of it in {callee}" if callee else ""
        yield problem(
            "slow-top-level",
            f"parsing takes {milliseconds / 1000:.1f} s{whom}; the scheduler spends that each time",
            severity=level,
            file=file or self._task.file,
            line=line,
            hint="Move it into a task; import heavy packages inside the function that needs them.",
            places=self._places,
        )

    def _deprecated(self) -> Iterator[Problem]:
        level = self._level("deprecated_import")
        if not level:
            return
        seen = set()
        for file, line, category, message in self._warned:
            name = self._places.name(file)
            if name is None or ("Deprecat" not in category and "Removed" not in category):
                continue
            if (name, line) not in seen:
                seen.add((name, line))
                yield self._deprecation(name, line, message.splitlines()[0], level, kind=category)
        for old in deprecated_imports(self._places.text(self._task.file), self._release.version):
            if (self._task.file, old.line) in seen:
                continue
            seen.add((self._task.file, old.line))
            release = "this release" if old.now else "Airflow 3"
            message = f"{old.module} is deprecated in {release}" + (f": use {old.successor}" if old.successor else "")
            yield self._deprecation(self._task.file, old.line, message, level if old.now else "info")

    def _deprecation(self, file: str, line: int, message: str, level: str, kind: str = "") -> Problem:
        return problem(
            "deprecated-import",
            message,
            severity=level,
            kind=kind.rpartition(".")[2],
            file=file,
            line=line,
            places=self._places,
        )


def _roles_of_database() -> Optional[Set[str]]:
    """The roles that the metadata database has; None where there is none to ask."""
    with contextlib.suppress(Exception):
        from airflow import settings
        from sqlalchemy import text

        with settings.engine.connect() as connection:
            return {str(row[0]) for row in connection.execute(text("SELECT name FROM ab_role"))}
    return None


def _cycle(dag: Any) -> List[str]:
    """The tasks along one cycle, the first repeated at the end."""
    below = {one.task_id: sorted(one.downstream_task_ids) for one in dag.tasks}
    done: Set[str] = set()
    for start in sorted(below):
        path: List[str] = []
        stack: List[Tuple[str, int]] = [(start, 0)]
        while stack:
            name, index = stack.pop()
            if index == 0:
                if name in path:
                    return [*path[path.index(name) :], name]
                if name in done:
                    continue
                path.append(name)
            if index < len(below.get(name, ())):
                stack += [(name, index + 1), (below[name][index], 0)]
            else:
                done.add(name)
                path.pop()
    return []


def _parse_warning(line: str) -> Tuple[str, int, str, str]:
    """3.x keeps a warning as `file:line: type: message`."""
    parts = re.match(r"(.*?):(\d+): ([\w.]+): (.*)", line, re.DOTALL)
    return (parts.group(1), int(parts.group(2)), parts.group(3), parts.group(4)) if parts else ("", 0, "", line)
