"""One parse of one DAG file, in a process of its own: what the release's own DagBag says, and what devenv adds.

Whether a file is broken is DagBag's word alone (`airflow.models.dagbag` in 2.x, `airflow.dag_processing.dagbag` in
3.x), plus what the scheduler does right after it: serialising each DAG. devenv adds the place, the excerpt and the
hint, and warnings that never make a file broken unless the settings say so.
"""

from __future__ import annotations

import ast
import hashlib
import itertools
import json
import os
import re
import sys
import time
import traceback
import warnings
from typing import Any, Container, Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

from devenv.agent import problems
from devenv.agent.deprecated import deprecated_imports
from devenv.agent.observe import Observer, elapsed, waited_for_cpu
from devenv.agent.places import Places
from devenv.agent.problems import Problem, problem

_SLOW_MILLISECONDS = 1_000.0
_OVERRIDES = {"pod_override", "pod_template_file", "KubernetesExecutor", "LocalKubernetesExecutor"}


class Release(NamedTuple):
    """The Airflow that is imported here."""

    version: Tuple[int, ...]
    dag_bag: Any
    serializer: Any
    options: Dict[str, Any]
    """Arguments of DagBag that this release needs."""


def load_release(places: Places) -> Release:
    """Imports what a parse needs; takes seconds, so the warm process does it once."""
    import airflow
    from airflow.serialization import serialized_objects

    version = tuple(int(part) for part in re.findall(r"\d+", airflow.__version__)[:3])
    if version >= (3,):
        from airflow.dag_processing.dagbag import BundleDagBag as DagBag
        from airflow.sdk.execution_time import context  # noqa: F401 (observed, like the two below)

        options: Dict[str, Any] = {"bundle_path": _folder(places), "bundle_name": "dags-folder"}
    else:
        from airflow.models import connection, variable  # noqa: F401
        from airflow.models.dagbag import DagBag

        options = {"include_examples": False, "read_dags_from_db": False}
    serializer = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
    return Release(version, DagBag, serializer, options)


def _folder(places: Places) -> Any:
    from pathlib import Path

    return Path(places.dag_folder)


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
    observer.start()
    started, starved = time.perf_counter(), waited_for_cpu()
    ignored = _ignored(places, task.file)
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
        "modules": sorted(name for name in imported if name.startswith("airflow.")),
    }


def _imported_after(last: str) -> List[str]:
    """The modules that were imported since `last` was, which was the newest then.

    From the end, because to look at each of the thousands of names is to copy the memory that they lie in from the
    process that was forked: a tenth of a small file's time.
    """
    return list(itertools.takewhile(lambda name: name != last, reversed(sys.modules)))


def _ignored(places: Places, file: str) -> Optional[Problem]:
    """Why Airflow never looks at a file: a pattern in a `.airflowignore` on the way to it."""
    names = file.split("/")
    lists = ["/".join([*names[:depth], ".airflowignore"]) for depth in range(1, len(names))]
    lists = [name for name in lists if os.path.isfile(places.path(name))]
    if not lists:
        return None
    from airflow.configuration import conf

    version = sys.modules["airflow"].__version__
    if version >= "3":
        from airflow._shared.module_loading.file_discovery import find_path_from_directory
    else:
        from airflow.utils.file import find_path_from_directory
    syntax = conf.get("core", "dag_ignore_file_syntax", fallback="glob" if version >= "3" else "regexp")
    if places.path(file) in set(find_path_from_directory(places.dag_folder, ".airflowignore", syntax)):
        return None
    found = problem(
        "ignored-file",
        f"Airflow does not look at this file: {' or '.join(lists)} has a pattern ({syntax}) for it",
        severity="info",
        file=lists[-1],
        hint="Patterns are regular expressions by default in Airflow 2, and as in .gitignore in Airflow 3.",
    )
    for name in lists:
        for number, pattern in enumerate(places.lines(name), 1):
            if syntax == "regexp" and _finds(pattern, "/".join(names[1:])):
                found.update(file=name, line=number, excerpt=[pattern], excerpt_line=number)
    return found


def _finds(pattern: str, path: str) -> bool:
    try:
        return bool(pattern.strip()) and not pattern.startswith("#") and re.search(pattern, path) is not None
    except re.error:
        return False


class _Loaded:
    """A file that DagBag has processed, with what was caught on the way."""

    def __init__(self, release: Release, places: Places, task: Task) -> None:
        self._release = release
        self._places = places
        self._task = task
        self._path = places.path(task.file)
        self._caught: List[BaseException] = []
        self._refused: List[Tuple[Any, BaseException]] = []
        self._warned: List[Tuple[str, int, str, str]] = []
        self._dags: Dict[str, Any] = {}
        self._errors: Dict[str, str] = {}
        self.digests: Dict[str, str] = {}
        self.looked_for: List[str] = []

    def process(self) -> None:
        """What the scheduler's file processor does: DagBag, then serialising."""
        caught, refused = self._caught, self._refused
        told = traceback.format_exc

        def format_exc(*arguments: Any, **named: Any) -> str:
            # Where both releases turn an exception into the text of an import error.
            error = sys.exc_info()[1]
            if error is not None:
                caught.append(error)
            return told(*arguments, **named)

        dag_bag: Any = self._release.dag_bag

        class Bag(dag_bag):  # type: ignore[misc, unused-ignore]
            def bag_dag(self, dag: Any, *arguments: Any, **named: Any) -> Any:
                try:
                    return super().bag_dag(dag, *arguments, **named)
                except Exception as error:
                    refused.append((dag, error))
                    raise

        traceback.format_exc = format_exc
        warnings.simplefilter("always")
        warnings.showwarning = self._showwarning  # type: ignore[assignment]
        try:
            bag = Bag(os.devnull, collect_dags=False, **self._release.options)
            bag.dagbag_import_error_tracebacks = True
            bag.process_file(self._path, only_if_updated=False, safe_mode=self._safe_mode())
        except SystemExit as error:  # 2.x: takes the scheduler's file processor down, without an import error
            caught.append(error)
            self._errors[self._path] = problems.summary(error)
            return
        self._dags = dict(bag.dags)
        self._errors.update(bag.import_errors)
        for lines in getattr(bag, "captured_warnings", {}).values():
            self._warned += [_parse_warning(line) for line in lines]
        for dag_id, dag in self._dags.items():
            self._serialize(dag_id, dag)

    def _safe_mode(self) -> bool:
        if self._task.safe_mode is not None:
            return self._task.safe_mode
        from airflow.configuration import conf

        return bool(conf.getboolean("core", "DAG_DISCOVERY_SAFE_MODE"))

    def _serialize(self, dag_id: str, dag: Any) -> None:
        try:
            data = self._release.serializer.to_dict(dag)
            text = json.dumps(data, sort_keys=True, default=str)
        except Exception as error:
            self._refused.append((dag, error))
            self._errors[self._path] = problems.summary(error)
            self.digests[dag_id] = ""
            return
        self.digests[dag_id] = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]

    def _showwarning(self, message: Any, category: Any, filename: str, lineno: int, *_rest: Any) -> None:
        self._warned.append((filename, lineno, category.__name__, str(message)))

    # What is wrong

    def problems(self, observer: Observer) -> List[Problem]:
        """Errors, one per import error of the DagBag."""
        found: List[Problem] = []
        for error in self._caught[:20]:
            found.append(
                problems.from_exception(
                    error,
                    self._places,
                    main=self._task.file,
                    missing=observer.missing,
                    vault_mount=self._task.vault_mount,
                )
            )
            if isinstance(error, ImportError) and error.name:
                self.looked_for.append(error.name)
        for dag, error in self._refused[:20]:
            found.append(self._refusal(dag, error))
        if self._errors and not found:
            found.append(self._unexplained(next(iter(self._errors.values()))))
        if not self._errors:
            return []
        return list({(one["rule"], one["message"], one["file"], one["line"]): one for one in found}.values())

    def _refusal(self, dag: Any, error: BaseException) -> Problem:
        """A DAG that was built, and that Airflow does not take."""
        found = problems.from_exception(error, self._places, main=self._task.file, missing=())
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
        line, _what = _looks_like_dag("\n".join(self._places.lines(self._task.file)), ())
        return problem(
            problems.rule_of(kind), message or last, kind=kind, file=self._task.file, line=line, places=self._places
        )

    # What is worth knowing

    def warnings(self, observer: Observer, milliseconds: float) -> List[Problem]:
        """What does not keep the DAGs from running."""
        found = [*self._nothing_found(), *self._slow(observer, milliseconds)]
        level = self._level("top_level_io")
        for file, line, whom in observer.calls if level else ():
            found.append(
                problem(
                    "top-level-io",
                    f"asks {whom} each time that the file is parsed",
                    severity=level,
                    file=file,
                    line=line,
                    hint="Move it into a task, or use a template: {{ var.value.NAME }}, {{ conn.NAME.host }}.",
                    places=self._places,
                )
            )
        found += self._deprecated()
        for dag_id, dag in self._dags.items():
            found += self._policies(dag_id, dag)
        return found

    def _level(self, name: str) -> str:
        level = self._task.check.get(name, "off")
        return level if level in ("warning", "error") else ""

    def _nothing_found(self) -> Iterator[Problem]:
        if self._dags:
            return
        source = "\n".join(self._places.lines(self._task.file))
        if self._path.endswith(".zip"):
            yield problem(
                "no-dag-found",
                "no module at the top of this zip defines a DAG",
                severity="warning",
                file=self._task.file,
                hint="Airflow looks only at the .py files at the top of a zip, not into its folders.",
            )
            return
        line, what = _looks_like_dag(source, problems.own_modules(self._places))
        if not line:
            return
        lowered = source.lower()
        if self._safe_mode() and not ("dag" in lowered and "airflow" in lowered):
            lacks = " and ".join(repr(word) for word in ("dag", "airflow") if word not in lowered)
            message = (
                f"Airflow skips this file: in safe mode it takes only files with certain words; {lacks} is missing"
            )
            hint = "Add a comment with both words, or set dag_discovery_safe_mode = false in [airflow.config.core]."
        else:
            message = f"no DAG found, though {what}"
            hint = "A @dag function must be called, and a DAG must be at the top level of the module."
        yield problem(
            "no-dag-found",
            message,
            severity="warning",
            file=self._task.file,
            line=line,
            hint=hint,
            places=self._places,
        )

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
        source = "\n".join(self._places.lines(self._task.file))
        for old in deprecated_imports(source, self._release.version):
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

    def _policies(self, dag_id: str, dag: Any) -> Iterator[Problem]:
        tasks = list(getattr(dag, "tasks", ()))
        for name, rule, message, offends in _POLICIES:
            level = self._level(name)
            guilty = [one.task_id for one in tasks if offends(dag, one)] if level else []
            if guilty:
                whom = ", ".join(guilty[:5]) + (" …" if len(guilty) > 5 else "")
                yield self._policy(rule, f"DAG {dag_id!r}: {message} ({whom})", level, dag_id)
        level = self._level("start_date")
        if level and _lacks_start_date(dag, tasks):
            yield self._policy("policy-start-date", f"DAG {dag_id!r}: no start_date", level, dag_id)
        for one in tasks:
            ignored = _ignored_resources(one)
            if ignored:
                found = problem(
                    "ignored-resources",
                    f"task {one.task_id!r}: {ignored} has no effect under KubernetesExecutor",
                    severity="warning",
                    file=self._task.file,
                    hint=f"To set cpu and memory, {problems.resources_hint()}",
                )
                problems.place(found, one.task_id, self._places)
                yield found

    def _policy(self, rule: str, message: str, level: str, dag_id: str) -> Problem:
        found = problem(rule, message, severity=level, file=self._task.file)
        problems.place(found, dag_id, self._places)
        return found


def _own_arguments(one: Any) -> Mapping[str, Any]:
    """The arguments that an operator was made with, `default_args` included (the same name in 2.x and 3.x)."""
    found = getattr(one, "_BaseOperator__init_kwargs", None) or getattr(one, "partial_kwargs", None)
    return found if isinstance(found, Mapping) else {}


def _lacks_retries(dag: Any, one: Any) -> bool:
    given = {**dict(dag.default_args or {}), **_own_arguments(one)}
    return not getattr(one, "retries", 0) or given.get("retry_delay") is None


def _lacks_start_date(dag: Any, tasks: List[Any]) -> bool:
    """2.x takes a DAG without a start_date only when it has no task, or each task has one; 3.x takes any."""
    if getattr(dag, "start_date", None) is not None:
        return False
    return not tasks or any(getattr(one, "start_date", None) is None for one in tasks)


_POLICIES = (
    ("retries", "policy-retries", "retries and retry_delay are not set", _lacks_retries),
    (
        "email_on_failure",
        "policy-email-on-failure",
        "email_on_failure is not False",
        lambda _dag, one: getattr(one, "email_on_failure", False) is not False,
    ),
    (
        "owner",
        "policy-owner",
        "no owner but the default",
        lambda _dag, one: getattr(one, "owner", "airflow") in ("", "airflow", None),
    ),
)


def _ignored_resources(one: Any) -> str:
    """What of a task's resources this release ignores, in words; "" when nothing."""
    given = _own_arguments(one)
    if given.get("resources"):
        return "resources="
    operator = getattr(one, "op_kwargs", None)
    if isinstance(operator, Mapping) and "kubernetes_resources" in operator:
        return "kubernetes_resources="
    config = getattr(one, "executor_config", None)
    if isinstance(config, Mapping) and config and not set(config) & _OVERRIDES:
        return f"executor_config with {', '.join(sorted(map(str, config)))}"
    if isinstance(config, Mapping) and isinstance(config.get("KubernetesExecutor"), Mapping):
        return "executor_config={'KubernetesExecutor': …}"
    return ""


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


def _looks_like_dag(source: str, own: Container[str]) -> Tuple[int, str]:
    """The first line that seems to make a DAG, and what it does; (0, "") for a helper module."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return 0, ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                if _called_name(decorator) == "dag":
                    return node.lineno, f"{node.name} is decorated with @dag"
        elif isinstance(node, ast.Call) and _called_name(node) == "DAG":
            return node.lineno, "DAG(…) is called"
    factories = {
        (name.asname or name.name).partition(".")[0]
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
        if (getattr(node, "module", None) or name.name).partition(".")[0] in own
    }
    for node in tree.body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = _called_name(node.value)
            if name in factories or _root_name(node.value.func) in factories:
                return node.lineno, f"{name}(…) of another file is called"
    return 0, ""


def _root_name(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _called_name(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _parse_warning(line: str) -> Tuple[str, int, str, str]:
    """3.x keeps a warning as `file:line: type: message`."""
    parts = re.match(r"(.*?):(\d+): ([\w.]+): (.*)", line, re.DOTALL)
    return (parts.group(1), int(parts.group(2)), parts.group(3), parts.group(4)) if parts else ("", 0, "", line)
