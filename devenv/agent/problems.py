"""From an exception to a problem that a person can act on: rule, place in the user's own code, excerpt, hint.

The names of the rules are public (docs/reference/verdicts.md); a problem is plain data, as in `devenv.verdict`.
"""

from __future__ import annotations

import builtins
import difflib
import os
import re
import sys
import traceback
from types import TracebackType
from typing import Any, Dict, Iterable, List, Optional, Tuple

from devenv.agent.places import Places

Problem = Dict[str, Any]

# Modules whose distribution has another name. (Anything else is looked for under its own.)
_DISTRIBUTIONS = {
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "git": "GitPython",
    "jwt": "PyJWT",
    "kafka": "kafka-python",
    "MySQLdb": "mysqlclient",
    "PIL": "Pillow",
    "psycopg2": "psycopg2-binary",
    "serial": "pyserial",
    "sklearn": "scikit-learn",
    "snowflake": "snowflake-connector-python",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
_NAMESPACES = ("google.cloud", "azure", "opentelemetry")
_EXECUTOR_CONFIG = (
    "give the task executor_config={'pod_override': k8s.V1Pod(spec=k8s.V1PodSpec(containers=[k8s.V1Container("
    "name='base', resources=k8s.V1ResourceRequirements(requests={'cpu': '1', 'memory': '2Gi'}))]))}"
)
_MESSAGE_LIMIT = 4_000


def problem(
    rule: str,
    message: str,
    *,
    severity: str = "error",
    kind: str = "",
    file: str = "",
    line: int = 0,
    column: int = 0,
    hint: str = "",
    places: Optional[Places] = None,
) -> Problem:
    """A problem as plain data; with `places`, its excerpt is read from the file."""
    excerpt, first = places.excerpt(file, line) if places is not None and file and line else ([], 0)
    return {
        "rule": rule,
        "severity": severity,
        "message": message[:_MESSAGE_LIMIT],
        "type": kind,
        "file": file,
        "line": line,
        "column": column,
        "excerpt": excerpt,
        "excerpt_line": first,
        "hint": hint,
    }


def place(found: Problem, name: str, places: Places) -> None:
    """Gives a problem that has no traceback a place: the line of its file that names the DAG or task."""
    quoted = re.compile(r"""["']{0}["']|def {0}\b""".format(re.escape(name)))
    for number, text in enumerate(places.lines(found["file"]), 1):
        if quoted.search(text):
            found["line"] = number
            found["excerpt"], found["excerpt_line"] = places.excerpt(found["file"], number)
            return


def own_place(trace: Optional[TracebackType], places: Places) -> Tuple[str, int, int]:
    """File, line and column of the innermost frame in the user's own files; ("", 0, 0) when there is none."""
    found = ("", 0, 0)
    while trace is not None:
        name = places.name(trace.tb_frame.f_code.co_filename)
        if name is not None:
            found = (name, trace.tb_lineno, _column(trace))
        trace = trace.tb_next
    return found


def _column(trace: TracebackType) -> int:
    positions = getattr(trace.tb_frame.f_code, "co_positions", None)  # from Python 3.11 on
    if positions is None:
        return 0
    for index, position in enumerate(positions()):
        if index * 2 == trace.tb_lasti - trace.tb_lasti % 2:
            return (position[2] or 0) + 1 if position[2] is not None else 0
    return 0


def from_exception(
    error: BaseException,
    places: Places,
    *,
    main: str,
    missing: Iterable[Tuple[str, str]],
    vault_mount: str = "secret",
) -> Problem:
    """What an exception that ended a parse means.

    Args:
        error: with its traceback.
        places: the roots.
        main: the DAG file that was parsed.
        missing: Variables and Connections that were asked for and not found: (`variable`, name).
        vault_mount: where they lie in Vault.
    """
    file, line, column = own_place(error.__traceback__, places)
    kind = type(error).__name__
    rule, message, hint = _meaning(error, places, main, list(missing), vault_mount)
    if isinstance(error, SyntaxError):
        name = places.name(error.filename)
        if name is not None:
            file, line, column = name, error.lineno or 0, error.offset or 0
    return problem(rule, message, kind=kind, file=file or main, line=line, column=column, hint=hint, places=places)


def _meaning(  # noqa: PLR0912 (a table of exceptions)
    error: BaseException, places: Places, main: str, missing: List[Tuple[str, str]], vault_mount: str
) -> Tuple[str, str, str]:
    """Rule, message and hint."""
    message = str(error) or type(error).__name__
    kinds = {base.__name__ for base in type(error).__mro__}
    if isinstance(error, SyntaxError):
        return "syntax-error", error.msg or message, ""
    asked = _missing_secret(error, message, missing, vault_mount)
    if asked is not None:
        return asked
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _missing_module(error.name, message, places, main)
    if isinstance(error, ImportError):
        return "import-error", message, _import_hint(message)
    if isinstance(error, NameError):
        return "name-error", message, _name_hint(error)
    if isinstance(error, AttributeError):
        return "attribute-error", message, _attribute_hint(error, message)
    if isinstance(error, SystemExit):
        return "exit-while-parsing", f"the file ends the process that parses it: sys.exit({error.code!r})", _MAIN_HINT
    if isinstance(error, MemoryError):
        return "parse-memory", "parsing needs more memory than is allowed", "Move the work into a task."
    if isinstance(error, RecursionError):
        return "recursion", message, ""
    if "AirflowTaskTimeout" in kinds:
        return "parse-timeout", message.splitlines()[0], "Move what takes long into a task."
    for name, rule in _AIRFLOW_RULES:
        if name in kinds:
            return rule, message, ""
    if any(words in message for words in _ARGUMENT_WORDS):
        return _arguments(message)
    if "has to be made of alphanumeric characters" in message:
        return "invalid-id", message, ""
    if "AirflowException" in kinds:
        return "invalid-dag", message, ""
    return "parse-error", message, ""


_MAIN_HINT = 'Put what is meant for the command line below `if __name__ == "__main__":`.'
_ARGUMENT_WORDS = (
    "kubernetes_resources",
    "Invalid arguments were passed",
    "unexpected keyword",
    "missing keyword argument",
)
_AIRFLOW_RULES = (
    ("AirflowDagCycleException", "cycle"),
    ("AirflowDagDuplicatedIdException", "duplicate-dag-id"),
    ("AirflowClusterPolicyViolation", "cluster-policy"),
    ("AirflowClusterPolicyError", "cluster-policy"),
    ("SerializationError", "serialization-error"),
    ("DuplicateTaskIdFound", "duplicate-task-id"),
    ("AirflowTimetableInvalid", "invalid-schedule"),
    ("CroniterError", "invalid-schedule"),
    ("FormatException", "invalid-schedule"),  # of cron_descriptor, which 2.x asks first
    ("ParamValidationError", "invalid-params"),
)


def rule_of(kind: str) -> str:
    """The rule for a DAG that Airflow refuses with an exception of this name."""
    return dict(_AIRFLOW_RULES).get(kind, "invalid-dag")


def _arguments(message: str) -> Tuple[str, str, str]:
    if re.search(r"\bkubernetes_resources\b|\bresources\b", message):
        return "ignored-resources", message, f"This release takes resources another way: {_EXECUTOR_CONFIG}"
    return "invalid-arguments", message, ""


def resources_hint() -> str:
    """How a task gets cpu and memory under KubernetesExecutor."""
    return _EXECUTOR_CONFIG


def _missing_secret(
    error: BaseException, message: str, missing: List[Tuple[str, str]], vault_mount: str
) -> Optional[Tuple[str, str, str]]:
    if not isinstance(error, KeyError) and not any(
        base.__name__ in ("AirflowNotFoundException", "AirflowRuntimeError") for base in type(error).__mro__
    ):
        return None
    for what, name in reversed(missing):
        if name in message:
            return (
                f"missing-{what}",
                f"{what.capitalize()} {name!r} does not exist",
                f"It belongs at {vault_mount}/{what}s/{name} in Vault: devenv secrets set {what} {name}",
            )
    return None


def _missing_module(name: str, message: str, places: Places, main: str) -> Tuple[str, str, str]:
    top, _, rest = name.partition(".")
    own = own_modules(places)
    beside = os.path.dirname(places.path(main))
    if not rest and beside != places.dag_folder and _is_module(beside, top):
        package = os.path.relpath(beside, places.dag_folder).replace(os.sep, ".")
        hint = f"It lies beside this file, but Airflow imports from the DAG folder: from {package} import {top}"
        return "missing-module", message, hint
    if top in own and rest:
        folder = os.path.join(own[top], *name.split(".")[:-1])
        near = _nearest(name.rpartition(".")[2], _modules_in(folder))
        parent = name.rpartition(".")[0]
        return (
            "missing-module",
            message,
            f"Did you mean {parent}.{near}?" if near else f"There is no such module in {parent}.",
        )
    if name.startswith("airflow.") and not name.startswith("airflow.providers."):
        return "missing-module", message, _moved_hint(name)
    near = _nearest(top, own)
    if near:
        return "missing-module", message, f"Did you mean {near}?"
    near = _nearest(top, getattr(sys, "stdlib_module_names", ()), cutoff=0.8)
    if near and near != top:
        return "missing-module", message, f"Did you mean {near}?"
    return "missing-package", message, f"Add a line to requirements.txt: {distribution(name)}"


def _moved_hint(name: str) -> str:
    from devenv.agent.deprecated import moved

    place = moved(name)
    return f"It is in {place} now." if place else "This release of Airflow has no such module."


def distribution(module: str) -> str:
    """The name under which a module is installed (`airflow.providers.slack`: `apache-airflow-providers-slack`)."""
    parts = module.split(".")
    if parts[:2] == ["airflow", "providers"]:
        names = [part for part in parts[2:] if part not in _PROVIDER_FOLDERS]
        depth = 2 if names[:1] in (["apache"], ["cncf"], ["microsoft"], ["common"], ["dbt"], ["atlassian"]) else 1
        return "-".join(["apache-airflow-providers", *names[:depth]])
    for namespace in _NAMESPACES:
        if module.startswith(namespace + "."):
            return "-".join(parts[: namespace.count(".") + 2])
    return _DISTRIBUTIONS.get(parts[0], parts[0].replace("_", "-"))


_PROVIDER_FOLDERS = {"hooks", "operators", "sensors", "transfers", "triggers", "notifications", "decorators"}


def own_modules(places: Places) -> Dict[str, str]:
    """Importable names of the roots: module → the folder that holds it."""
    return {name: folder for folder in places.folders.values() for name in _modules_in(folder)}


def _modules_in(folder: str) -> List[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [
        name[:-3] if name.endswith(".py") else name
        for name in names
        if name.endswith(".py") or ("." not in name and os.path.isdir(os.path.join(folder, name)))
    ]


def _is_module(folder: str, name: str) -> bool:
    return os.path.isfile(os.path.join(folder, name + ".py")) or os.path.isdir(os.path.join(folder, name))


def _nearest(name: str, names: Iterable[str], cutoff: float = 0.7) -> str:
    found = difflib.get_close_matches(name, [str(other) for other in names], 1, cutoff)
    return found[0] if found else ""


def _import_hint(message: str) -> str:
    if "partially initialized module" in message or "circular import" in message:
        return "Two modules import each other: move what both need into a third."
    asked = re.search(r"cannot import name '([^']+)' from '([^']+)'", message)
    if asked is None:
        return ""
    near = _nearest(asked.group(1), dir(sys.modules.get(asked.group(2), object())))
    return f"Did you mean {near}?" if near else ""


def _name_hint(error: NameError) -> str:
    asked = re.search(r"name '([^']+)' is not defined", str(error))
    trace = error.__traceback__
    if asked is None or trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    frame = trace.tb_frame
    near = _nearest(asked.group(1), {*frame.f_locals, *frame.f_globals, *dir(builtins)})
    if near:
        return f"Did you mean {near}?"
    if asked.group(1) in getattr(sys, "stdlib_module_names", ()):
        return f"import {asked.group(1)} is missing."
    return ""


def _attribute_hint(error: AttributeError, message: str) -> str:
    asked = re.search(r"has no attribute '([^']+)'", message)
    target = getattr(error, "obj", None)  # from Python 3.10 on
    if asked is None or target is None:
        return ""
    near = _nearest(asked.group(1), dir(target))
    return f"Did you mean {near}?" if near else ""


def summary(error: BaseException) -> str:
    """An exception in one line, as Python says it."""
    return "".join(traceback.format_exception_only(type(error), error)).strip()
