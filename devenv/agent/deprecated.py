"""Modules of Airflow that moved: what 2.x warns of, and what Airflow 3 has elsewhere or no more.

From the deprecation tables of `apache-airflow` 2.7 (`airflow/operators`, `airflow/contrib`, `airflow/utils`) and the
upgrade guide of Airflow 3; read by an import's name, so it needs nothing imported.
"""

from __future__ import annotations

import ast
import re
from typing import Iterator, NamedTuple, Optional, Tuple

from devenv.agent.source import called_name, dotted_name, parsed

# Module (or module:name) → where it is in the release that still has it; "" where it is gone without a successor.
_DEPRECATED_IN_2 = {
    "airflow.contrib": "",
    "airflow.hooks.base_hook": "airflow.hooks.base",
    "airflow.operators.bash_operator": "airflow.operators.bash",
    "airflow.operators.branch_operator": "airflow.operators.branch",
    "airflow.operators.dagrun_operator": "airflow.operators.trigger_dagrun",
    "airflow.operators.dummy": "airflow.operators.empty",
    "airflow.operators.dummy_operator": "airflow.operators.empty",
    "airflow.operators.email_operator": "airflow.operators.email",
    "airflow.operators.latest_only_operator": "airflow.operators.latest_only",
    "airflow.operators.python_operator": "airflow.operators.python",
    "airflow.operators.subdag": "airflow.utils.task_group",
    "airflow.operators.subdag_operator": "airflow.utils.task_group",
    "airflow.operators.sql": "airflow.providers.common.sql.operators.sql",
    "airflow.sensors.base_sensor_operator": "airflow.sensors.base",
    "airflow.sensors.external_task_sensor": "airflow.sensors.external_task",
    "airflow.utils.dates:days_ago": "pendulum.today('UTC').add(days=-N)",
    "airflow.utils.decorators:apply_defaults": "",
}
_MOVED_IN_3 = {
    "airflow.decorators": "airflow.sdk",
    "airflow.datasets": "airflow.sdk (Asset)",
    "airflow.hooks.base": "airflow.sdk.bases.hook",
    "airflow.models.baseoperator": "airflow.sdk",
    "airflow.models.dag": "airflow.sdk",
    "airflow.models.param": "airflow.sdk",
    "airflow.notifications.basenotifier": "airflow.sdk.bases.notifier",
    "airflow.operators.bash": "airflow.providers.standard.operators.bash",
    "airflow.operators.branch": "airflow.providers.standard.operators.branch",
    "airflow.operators.datetime": "airflow.providers.standard.operators.datetime",
    "airflow.operators.email": "airflow.providers.smtp.operators.smtp",
    "airflow.operators.empty": "airflow.providers.standard.operators.empty",
    "airflow.operators.latest_only": "airflow.providers.standard.operators.latest_only",
    "airflow.operators.python": "airflow.providers.standard.operators.python",
    "airflow.operators.trigger_dagrun": "airflow.providers.standard.operators.trigger_dagrun",
    "airflow.operators.weekday": "airflow.providers.standard.operators.weekday",
    "airflow.sensors.bash": "airflow.providers.standard.sensors.bash",
    "airflow.sensors.date_time": "airflow.providers.standard.sensors.date_time",
    "airflow.sensors.external_task": "airflow.providers.standard.sensors.external_task",
    "airflow.sensors.filesystem": "airflow.providers.standard.sensors.filesystem",
    "airflow.sensors.python": "airflow.providers.standard.sensors.python",
    "airflow.sensors.time_delta": "airflow.providers.standard.sensors.time_delta",
    "airflow.sensors.base": "airflow.sdk.bases.sensor",
    "airflow.utils.log.secrets_masker": "airflow.sdk.execution_time.secrets_masker",
    "airflow.utils.task_group": "airflow.sdk",
    "airflow.utils.dates": "pendulum",
}


# Names that are called otherwise where their module went.
_RENAMED = {
    "DummyOperator": "EmptyOperator",
    "Dataset": "Asset",
    "DatasetAlias": "AssetAlias",
    "DatasetAll": "AssetAll",
}

# Modules that had one class, by what it is called now.
_ONLY_CLASS = {"airflow.operators.dummy": "EmptyOperator", "airflow.operators.dummy_operator": "EmptyOperator"}

# Module, or module:name → what to do where the successor is not an import of the same name.
_GONE = {
    "airflow.contrib": "airflow.contrib is gone: its modules are in the providers",
    "airflow.operators.subdag": "SubDagOperator is gone: use TaskGroup of airflow.sdk",
    "airflow.operators.subdag_operator": "SubDagOperator is gone: use TaskGroup of airflow.sdk",
    "airflow.utils.dates": "airflow.utils.dates is gone: write pendulum.today('UTC').add(days=-N) for days_ago(N)",
    "airflow.utils.decorators": "apply_defaults is gone: delete it, operators take default_args without it",
    "airflow.utils.helpers:chain": "use chain of airflow.sdk",
    "airflow.models.dagbag": "a DAG file cannot load other DAGs on Airflow 3: use the REST API",
}

# Arguments of DAG and of operators that Airflow 3 no longer takes → what to write; "" where they are only dropped.
_RENAMED_ARGUMENTS = {
    "schedule_interval": "schedule",
    "timetable": "schedule",
    "concurrency": "max_active_tasks",
    "task_concurrency": "max_active_tis_per_dag",
    "fail_stop": "fail_fast",
    "default_view": "",
    "orientation": "",
    "sla": "",
    "sla_miss_callback": "",
    "full_filepath": "",
    "provide_context": "",
}


class DeprecatedImport(NamedTuple):
    """An import to change: the module, where it stands, its new place, and whether this release already warns."""

    module: str
    line: int
    column: int
    successor: str
    now: bool


def moved(module: str, name: str, version: Tuple[int, ...]) -> str:
    """What to write instead of an import that fails, as a sentence; "" when it is not known.

    Args:
        module: `airflow.operators.dummy_operator`.
        name: what was imported from it, "" when that is not known.
        version: of the Airflow that refused it; a place that this release has deprecated is followed to the next.
    """
    if version >= (3,):
        for key in (f"{module}:{name}", module):
            if key in _GONE:
                return f"{_GONE[key]}."
    place, found = module, ""
    for table in (_DEPRECATED_IN_2, _MOVED_IN_3) if version >= (3,) else (_DEPRECATED_IN_2,):
        entry = _match(f"{place}:{name}" if name else place, table)
        if entry is not None:
            place = found = entry[1]
    if not found:
        return ""
    if not re.fullmatch(r"[a-z_.0-9]+", found):
        return f"Use {found}."
    renamed = _RENAMED.get(name, name) or _ONLY_CLASS.get(module, "")
    return f"It moved: from {found} import {renamed}." if renamed else f"It moved to {found}."


def renamed_argument(name: str, version: Tuple[int, ...]) -> str:
    """What to write instead of an argument that Airflow 3 no longer takes, as a sentence; "" when it is not known."""
    if version < (3,) or name not in _RENAMED_ARGUMENTS:
        return ""
    successor = _RENAMED_ARGUMENTS[name]
    return f"Airflow 3 calls it {successor}." if successor else f"Airflow 3 has no {name}: delete it."


def deprecated_imports(source: str, release: Tuple[int, ...]) -> Iterator[DeprecatedImport]:
    """The imports of a file that `release` or the next has deprecated; none when the file is no Python."""
    tree = parsed(source)
    for node in _unguarded(tree) if tree is not None else ():
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}:{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        else:
            continue
        seen = set()
        for name in names:
            now = _match(name, _DEPRECATED_IN_2)
            later = _match(name, _MOVED_IN_3)
            found = now or later
            if found is None or found[0] in seen:
                continue
            seen.add(found[0])
            yield DeprecatedImport(
                found[0].replace(":", "."), node.lineno, node.col_offset + 1, found[1], bool(now) or release >= (3,)
            )


def _unguarded(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a file, without the imports that it makes only where they work.

    These are `try: … except ImportError`, both branches of a test of a version, and `if TYPE_CHECKING`.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Try) and any(_catches_import(handler.type) for handler in node.handlers):
            continue
        if isinstance(node, ast.If) and _tests_version(node.test):
            continue
        yield node
        yield from _unguarded(node)


def _catches_import(caught: Optional[ast.AST]) -> bool:
    if caught is None:
        return True
    names = [dotted_name(one) for one in (caught.elts if isinstance(caught, ast.Tuple) else [caught])]
    return any(name in ("ImportError", "ModuleNotFoundError", "Exception", "BaseException") for name in names)


def _tests_version(test: ast.AST) -> bool:
    return any(
        isinstance(node, (ast.Name, ast.Attribute))
        and (
            "version" in called_name(node).lower()
            or "airflow_3" in called_name(node).lower()
            or called_name(node) == "TYPE_CHECKING"
        )
        for node in ast.walk(test)
    )


def _match(name: str, table: "dict[str, str]") -> Optional[Tuple[str, str]]:
    module = name.partition(":")[0]
    for key in (name, module):
        if key in table:
            return key, table[key]
    parts = module.split(".")
    for depth in range(len(parts) - 1, 1, -1):
        key = ".".join(parts[:depth])
        if key in table and key == "airflow.contrib":
            return key, table[key]
    return None
