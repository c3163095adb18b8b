"""What the scheduler does with a DAG after it serialised it: stores it, and reads it back to make pods of its tasks.

A value that a column or Postgres' JSON does not take ends the file's processor on Airflow 2, without an import error,
and the whole dag-processor on Airflow 3 (apache/airflow #53759, #23343); an `executor_config` that cannot be read back
ends the scheduler. So the verdict is the only place where one learns of it.
"""

from __future__ import annotations

import math
import os
import pickle
import re
from typing import Any, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

_ID_LENGTH = 250
"""Of `dag.dag_id` and `task_instance.task_id` (airflow.models.base.ID_LEN)."""
_TAG_LENGTH = 100
_OWNERS_LENGTH = 2_000
_ROLES = frozenset(("Admin", "Op", "User", "Viewer", "Public"))
"""The roles that a new Airflow has (Flask AppBuilder)."""
_SPELT = {"nan": "NaN", "inf": "infinite", "-inf": "infinite"}
_PLAIN = (str, int, float, bool, type(None), bytes)
_NODES_LIMIT = 100_000


class Refusal(NamedTuple):
    """Why a DAG is not stored, or a task of it not run.

    Attributes:
        rule: its name in `devenv.agent.rules`.
        message: for a person, without the DAG's id.
        task: the task that it is about, "" for the DAG itself.
        hint: what to do, or "".
    """

    rule: str
    message: str
    task: str = ""
    hint: str = ""


def refusals(dag: Any, data: Any, version: Tuple[int, ...]) -> Iterator[Refusal]:
    """What Airflow's database does not take of a DAG.

    Args:
        dag: as the file made it.
        data: as the release serialised it.
        version: of Airflow.
    """
    yield from _unstorable_json(data)
    yield from _owners(dag)
    yield from _lengths(dag)
    if version < (3,):
        yield from _schedule(dag)
    for task in getattr(dag, "tasks", ()):
        yield from executor_config(task)


# JSON


def _unstorable_json(data: Any) -> Iterator[Refusal]:
    """NaN and infinities (Python's JSON writes them, Postgres takes none), NUL, and lone surrogates."""
    seen: Set[str] = set()
    for path, value in _leaves(data):
        fault = _fault(value)
        if fault:
            task, field = _named(data, path)
            if field not in seen:
                seen.add(field)
                yield Refusal(
                    "serialization-error",
                    f"{field} {fault}; the scheduler cannot store the DAG",
                    task,
                    "Use None or a string instead." if isinstance(value, float) else "Remove the character.",
                )


def _fault(value: Any) -> str:
    if isinstance(value, float):
        return f"is {_SPELT[str(value)]}, which Postgres' JSON does not take" if not math.isfinite(value) else ""
    if isinstance(value, str):
        if "\0" in value:
            return "has a NUL character, which Postgres does not take"
        if any("\ud800" <= character <= "\udfff" for character in value):
            return "has a lone surrogate, which is no Unicode text"
    return ""


def _leaves(data: Any) -> Iterator[Tuple[Tuple[Any, ...], Any]]:
    """Every string and number of plain data, keys included, with the way to it."""
    stack: List[Tuple[Tuple[Any, ...], Any]] = [((), data)]
    for _ in range(_NODES_LIMIT):
        if not stack:
            return
        path, value = stack.pop()
        if isinstance(value, Mapping):
            for key, item in value.items():
                if isinstance(key, (str, float)):
                    yield (*path, key), key
                stack.append(((*path, key), item))
        elif isinstance(value, (list, tuple)):
            stack += [((*path, index), item) for index, item in enumerate(value)]
        else:
            yield path, value


def _named(data: Any, path: Tuple[Any, ...]) -> Tuple[str, str]:
    """The task that a place in serialised data belongs to, and what the place is called in a DAG file."""
    task = ""
    current = data
    names: List[str] = []
    for step in path:
        try:
            current = current[step]
        except (KeyError, IndexError, TypeError):
            names.append(str(step))
            break
        if names == ["tasks"] and isinstance(current, Mapping):
            inner = current.get("__var", current)  # from 2.9 on, a task is wrapped with its type
            task, names = str(inner.get("task_id", "")), []
            continue
        if isinstance(step, str) and not step.startswith("__") and step != "dag":
            names.append(step.lstrip("_"))
        elif isinstance(step, int) and names:
            names[-1] += f"[{step}]"
    return task, ".".join(names) or "the DAG"


# Columns


def _owners(dag: Any) -> Iterator[Refusal]:
    bad = [one for one in getattr(dag, "tasks", ()) if not isinstance(getattr(one, "owner", ""), (str, type(None)))]
    for one in bad[:1]:
        kind = type(one.owner).__name__
        everywhere = len(bad) == len(dag.tasks)
        subject = "owner" if everywhere else f"owner of task {one.task_id!r}"
        yield Refusal(
            "serialization-error",
            f"{subject} is a {kind}; the scheduler cannot store the DAG",
            "" if everywhere else one.task_id,
            'Write one string: owner="team".',
        )
    if not bad:
        owners = ", ".join(sorted({str(getattr(one, "owner", "")) for one in getattr(dag, "tasks", ())}))
        if len(owners) > _OWNERS_LENGTH:
            yield _too_long("the owners of all tasks together", len(owners), _OWNERS_LENGTH)


def _lengths(dag: Any) -> Iterator[Refusal]:
    if len(dag.dag_id) > _ID_LENGTH:
        yield _too_long("its id", len(dag.dag_id), _ID_LENGTH)
    for tag in getattr(dag, "tags", None) or ():
        if not isinstance(tag, str):
            yield Refusal(
                "serialization-error",
                f"tag {tag!r} is a {type(tag).__name__}; the scheduler cannot store the DAG",
                hint="Write tags as a list of strings.",
            )
        elif len(tag) > _TAG_LENGTH:
            yield _too_long(f"tag {tag[:30]!r}…", len(tag), _TAG_LENGTH)
    for task in getattr(dag, "tasks", ()):
        if len(task.task_id) > _ID_LENGTH:
            yield _too_long(f"task id {task.task_id[:30]!r}…", len(task.task_id), _ID_LENGTH)
    description = getattr(dag, "description", None)
    if description is not None and not isinstance(description, str):
        yield Refusal("serialization-error", f"description is a {type(description).__name__}, not a string")


def _too_long(what: str, length: int, limit: int) -> Refusal:
    return Refusal("serialization-error", f"{what} has {length:,} characters; the database takes {limit:,}")


def _schedule(dag: Any) -> Iterator[Refusal]:
    """2.x works out the next run while it stores the DAG: a timetable that fails then ends the file's processor."""
    try:
        if dag.timetable.can_be_scheduled:
            dag.next_dagrun_info(None)
    except Exception as error:
        yield Refusal(
            "invalid-schedule",
            f"its next run cannot be worked out: {type(error).__name__}: {error}; the scheduler does not store the DAG",
        )


def unknown_roles(dag: Any, known: Optional[Set[str]]) -> List[str]:
    """Roles that `access_control` names and that are none of `known` (None: what a new Airflow has)."""
    control = getattr(dag, "access_control", None)
    names = control if isinstance(control, Mapping) else {}
    there = _ROLES if known is None else known
    return sorted(str(name) for name in names if name not in there)


# The executor


def executor_config(task: Any) -> Iterator[Refusal]:
    """What KubernetesExecutor cannot make a pod of.

    The scheduler unpickles `executor_config`, sends it through a queue and gives it to `PodGenerator.from_obj`: what
    fails on the way stops it for all DAGs, or leaves the task queued for ever.
    """
    given = getattr(task, "executor_config", None)
    if given is None and hasattr(task, "partial_kwargs"):
        given = task.partial_kwargs.get("executor_config")
    if given is None:
        return
    where = task.task_id
    if not isinstance(given, Mapping):
        yield _bad_config(where, f"is a {type(given).__name__}, not a dict", _POD_OVERRIDE)
        return
    for key, value in given.items():
        if not isinstance(key, str):
            yield _bad_config(where, f"has the key {key!r}, which is no string", _POD_OVERRIDE)
        elif key == "pod_override":
            yield from _pod_override(where, value)
        elif key == "pod_template_file":
            if not isinstance(value, (str, type(None))) and not hasattr(value, "__fspath__"):
                yield _bad_config(where, f"has a pod_template_file that is a {type(value).__name__}", "Name a file.")
            elif value and _IN_A_POD in os.environ and os.path.isabs(value) and not os.path.isfile(value):
                missing = f"has the pod_template_file {os.fspath(value)}, which Airflow's image does not have"
                yield _bad_config(where, missing, "Add the file to the image, or to a synced folder.")
        else:
            foreign = _foreign(value, key)
            if foreign:
                yield _bad_config(where, f"has {foreign}, which the scheduler cannot read back", _POD_OVERRIDE)


_IN_A_POD = "KUBERNETES_SERVICE_HOST"
"""Set in every container: the agent runs in the image that the scheduler has, whose files it then sees."""
_POD_OVERRIDE = "Write executor_config={'pod_override': k8s.V1Pod(…)}; see the guide of KubernetesExecutor."


def _bad_config(task: str, what: str, hint: str) -> Refusal:
    return Refusal("invalid-executor-config", f"executor_config of task {task!r} {what}", task, hint)


def _pod_override(task: str, pod: Any) -> Iterator[Refusal]:
    if pod is None:
        return
    kind = type(pod)
    if kind.__name__ != "V1Pod" or not kind.__module__.startswith("kubernetes."):
        yield _bad_config(task, f"has a pod_override that is a {kind.__name__}, not a V1Pod", _POD_OVERRIDE)
        return
    from kubernetes.client import ApiClient

    try:
        plain = ApiClient().sanitize_for_serialization(pod)
    except Exception as error:
        yield _bad_config(task, f"has a pod_override that Kubernetes' client cannot write: {error}", _POD_OVERRIDE)
        return
    foreign = _foreign(plain, "pod_override")
    if foreign:
        yield _bad_config(task, f"has {foreign}, which is no JSON", _POD_OVERRIDE)
        return
    try:
        pickle.dumps(pod)
    except Exception as error:
        yield _bad_config(task, f"cannot be pickled: {error}", _POD_OVERRIDE)
        return
    spec = plain.get("spec") or {}
    for container in [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]:
        yield from _resources(task, container)


_QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?")
"""A quantity of Kubernetes (apimachinery, resource.Quantity)."""


def _resources(task: str, container: Any) -> Iterator[Refusal]:
    resources = container.get("resources") if isinstance(container, Mapping) else None
    for part in ("requests", "limits"):
        amounts = resources.get(part) if isinstance(resources, Mapping) else None
        for name, amount in (amounts or {}).items() if isinstance(amounts or {}, Mapping) else ():
            if not _QUANTITY.fullmatch(str(amount)):
                yield _bad_config(
                    task,
                    f"asks for {name} {amount!r}, which is no quantity of Kubernetes",
                    "Write cpu as 500m or 2, memory as 512Mi or 2Gi.",
                )


def _foreign(value: Any, name: str) -> str:
    """What of a value is no plain data, in words; "" when all of it is."""
    stack: List[Tuple[str, Any]] = [(name, value)]
    for _ in range(_NODES_LIMIT):
        if not stack:
            break
        name, value = stack.pop()
        if isinstance(value, Mapping):
            stack += [(f"{name}.{key}", item) for key, item in value.items()]
        elif isinstance(value, (list, tuple, set)):
            stack += [(name, item) for item in value]
        elif not isinstance(value, _PLAIN) and not type(value).__module__.startswith(("kubernetes.", "datetime")):
            kind = "a function" if callable(value) and hasattr(value, "__name__") else f"a {type(value).__name__}"
            return f"{kind} in {name}"
    return ""
