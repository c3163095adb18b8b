"""From an exception to a problem that a person can act on: rule, place in the user's own code, excerpt, hint.

The names of the rules are public (docs/reference/verdicts.md); a problem is plain data, as in `devenv.verdict`.
"""

from __future__ import annotations

import os
import re
import traceback
from types import TracebackType
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

from devenv.agent import hints
from devenv.agent.deprecated import renamed_argument
from devenv.agent.places import Places
from devenv.agent.source import imported_at, line_of

Problem = Dict[str, Any]

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
    """Gives a problem that has no traceback a place: the line of its file that makes the DAG or task of this id."""
    line = line_of(places.text(found["file"]), name)
    if line:
        found["line"] = line
        found["excerpt"], found["excerpt_line"] = places.excerpt(found["file"], line)


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
    version: Tuple[int, ...] = (),
) -> Problem:
    """What an exception that ended a parse means.

    Args:
        error: with its traceback.
        places: the roots.
        main: the DAG file that was parsed.
        missing: Variables and Connections that were asked for and not found: (`variable`, name).
        vault_mount: where they lie in Vault.
        version: of Airflow, for what moved between releases.
    """
    context = _Context(places, main, list(missing), vault_mount, version)
    file, line, column = own_place(error.__traceback__, places)
    kind = "RuntimeError" if isinstance(error, DatabaseForbidden) else type(error).__name__
    rule, message, hint = _meaning(error, context)
    if isinstance(error, SyntaxError):
        name = places.name(error.filename)
        if name is not None:
            file, line, column = name, error.lineno or 0, error.offset or 0
    message = "\n".join([message, *_causes(error, places)])
    return problem(rule, message, kind=kind, file=file or main, line=line, column=column, hint=hint, places=places)


def _causes(error: BaseException, places: Places) -> Iterator[str]:
    """What led to an exception, innermost first: what was raised from, what a group holds, and notes."""
    for note in getattr(error, "__notes__", ()):
        yield str(note)
    for one in getattr(error, "exceptions", ())[:_CAUSES_LIMIT]:  # of an exception group
        yield _cause(one, places, "")
    chain: List[str] = []
    seen = {id(error)}
    while len(chain) < _CAUSES_LIMIT:
        cause = error.__cause__
        if cause is None and not error.__suppress_context__:
            cause = error.__context__
            # Airflow's own way to an error (it looked in another place first) explains nothing.
            if cause is not None and not own_place(cause.__traceback__, places)[0]:
                break
        if cause is None or id(cause) in seen:
            break
        seen.add(id(cause))
        chain.append(_cause(cause, places, "because of "))
        error = cause
    yield from reversed(chain)


def _cause(error: BaseException, places: Places, before: str) -> str:
    file, line, _column = own_place(error.__traceback__, places)
    where = f" ({file}:{line})" if file else ""
    return f"{before}{summary(error).splitlines()[0][:_CAUSE_LENGTH]}{where}"


class _Context(NamedTuple):
    """What is known beside an exception; see `from_exception`."""

    places: Places
    main: str
    missing: List[Tuple[str, str]]
    vault_mount: str
    version: Tuple[int, ...]


def _meaning(error: BaseException, context: _Context) -> Tuple[str, str, str]:  # noqa: PLR0912 (a table of exceptions)
    """Rule, message and hint."""
    message = str(error) or type(error).__name__
    kinds = {base.__name__ for base in type(error).__mro__}
    if isinstance(error, SyntaxError):
        return "syntax-error", error.msg or message, hints.syntax(_line(error, context.places))
    asked = _missing_secret(error, message, context)
    if asked is not None:
        return asked
    if isinstance(error, ModuleNotFoundError) and error.name:
        file, line, _column = own_place(error.__traceback__, context.places)
        whole = imported_at(context.places.text(file), line, error.name) if file else error.name
        return hints.missing_module(whole, message, context.places, context.main, context.version)
    if isinstance(error, ImportError):
        hint = hints.import_name(message, error.name, context.version)
        cause = error.__cause__ or error.__context__
        if not hint and isinstance(cause, ModuleNotFoundError) and cause.name:  # a module that imports another
            _rule, _message, hint = hints.missing_module(
                cause.name, message, context.places, context.main, context.version
            )
        return "import-error", message, hint
    if isinstance(error, NameError):
        return "name-error", message, hints.name(error)
    if isinstance(error, AttributeError):
        return "attribute-error", message, _attribute(error, message)
    if isinstance(error, SystemExit):
        return "exit-while-parsing", f"the file ends the process that parses it: sys.exit({error.code!r})", _MAIN_HINT
    if isinstance(error, MemoryError):
        return "parse-memory", MEMORY_MESSAGE, MEMORY_HINT
    if isinstance(error, RecursionError):
        return "recursion", message, ""
    if "AirflowTaskTimeout" in kinds:
        return "parse-timeout", message.splitlines()[0], "Move what takes long into a task."
    asked_database = _of_database(error)
    if asked_database is not None:
        return _database(asked_database)
    if isinstance(error, DatabaseForbidden):
        return "database-access", message, _DATABASE_HINT
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
        return "parse-error", message, hints.missing_file(error.filename, context.places)
    for name, rule in _AIRFLOW_RULES:
        if name in kinds:
            return rule, message, ""
    if any(words in message for words in _ARGUMENT_WORDS):
        return _arguments(message, context.version)
    if "has to be made of alphanumeric characters" in message:
        return "invalid-id", message, ""
    if "AirflowException" in kinds:
        return "invalid-dag", message, ""
    return "parse-error", message, ""


def _line(error: SyntaxError, places: Places) -> str:
    """The text of the line at which Python stopped; it gives none for some errors in f-strings."""
    name = places.name(error.filename)
    lines = places.lines(name) if name is not None else []
    number = error.lineno or 0
    return lines[number - 1] if 0 < number <= len(lines) else error.text or ""


def _attribute(error: AttributeError, message: str) -> str:
    asked = re.fullmatch(r"task decorator '(\w+)' not found", message)  # airflow.decorators, of 2.x and 3.x
    return hints.decorator(asked.group(1)) if asked else hints.attribute(error, message)


def _of_database(error: BaseException) -> Optional[BaseException]:
    """SQLAlchemy's exception that an exception is, or comes from; its text has the whole statement."""
    found: Optional[BaseException] = error
    for _ in range(_CAUSES_LIMIT):
        if found is None or any(base.__name__ == "DBAPIError" for base in type(found).__mro__):
            return found
        found = found.__cause__ or found.__context__
    return None


def _database(error: BaseException) -> Tuple[str, str, str]:
    from airflow import settings

    message = summary(getattr(error, "orig", None) or error)
    file = getattr(getattr(settings.engine, "url", None), "database", None)
    if file and os.path.isfile(file) and not os.path.getsize(file):
        return "database-access", "the file asks the metadata database, which is not there in this check", ""
    return "parse-error", message, ""


class DatabaseForbidden(RuntimeError):
    """A DAG file asked the metadata database, which Airflow 3 forbids at the top level."""


_CAUSES_LIMIT = 5
_CAUSE_LENGTH = 500
MEMORY_MESSAGE = "parsing needs more memory than is allowed"
MEMORY_HINT = "Move the work into a task, or set check.parse_memory (in MiB) in devenv.toml."
_DATABASE_HINT = (
    "Use Variable or Connection of airflow.sdk, or ask Airflow's REST API in a task; "
    "a DAG file cannot reach the metadata database on Airflow 3."
)
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


def _arguments(message: str, version: Tuple[int, ...]) -> Tuple[str, str, str]:
    if re.search(r"\bkubernetes_resources\b|\bresources\b", message):
        return "ignored-resources", message, f"This release takes resources another way: {_EXECUTOR_CONFIG}"
    named = re.search(r"unexpected keyword argument '(\w+)'|\*\*kwargs: \{'(\w+)'", message)
    hint = renamed_argument(named.group(1) or named.group(2), version) if named else ""
    return "invalid-arguments", message, hint


def resources_hint() -> str:
    """How a task gets cpu and memory under KubernetesExecutor."""
    return _EXECUTOR_CONFIG


def _missing_secret(error: BaseException, message: str, context: _Context) -> Optional[Tuple[str, str, str]]:
    if not isinstance(error, KeyError) and not any(
        base.__name__ in ("AirflowNotFoundException", "AirflowRuntimeError") for base in type(error).__mro__
    ):
        return None
    for what, name in reversed(context.missing):
        if name in message:
            keys = _keys_in_vault(what, name)
            if keys:
                wanted = "value" if what == "variable" else "conn_uri"
                path = f"{context.vault_mount}/{what}s/{name}"
                return (
                    f"missing-{what}",
                    f"{path} in Vault has no key {wanted!r} (its keys: {', '.join(keys)})",
                    f"devenv secrets set {what} {name}",
                )
            return (
                f"missing-{what}",
                f"{what.capitalize()} {name!r} does not exist",
                f"It belongs at {context.vault_mount}/{what}s/{name} in Vault: devenv secrets set {what} {name}",
            )
    return None


def _keys_in_vault(what: str, name: str) -> List[str]:
    """The keys at the path where Airflow's Vault backend looks for a Variable or Connection; none where it has none."""
    try:
        from airflow.configuration import ensure_secrets_loaded

        for backend in ensure_secrets_loaded():
            folders = getattr(backend, f"{what}s_path", None) or []
            client = getattr(backend, "vault_client", None)
            if client is not None:  # the provider has one folder, and from 4.8 on a list of them
                paths = [f"{folder}/{name}" for folder in ([folders] if isinstance(folders, str) else folders)]
                return sorted({str(key) for path in paths for key in client.get_secret(secret_path=path) or ()})
    except Exception:  # no Vault, or it does not answer: then it is said to be missing
        return []
    return []


def summary(error: BaseException) -> str:
    """An exception in one line, as Python says it."""
    return "".join(traceback.format_exception_only(type(error), error)).strip()
