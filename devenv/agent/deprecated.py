"""Modules of Airflow that moved: what 2.x warns of, and what Airflow 3 has elsewhere or no more.

From the deprecation tables of `apache-airflow` 2.7 (`airflow/operators`, `airflow/contrib`, `airflow/utils`) and the
upgrade guide of Airflow 3; read by an import's name, so it needs nothing imported.
"""

from __future__ import annotations

import ast
from typing import Iterator, NamedTuple, Optional, Tuple

# Module (or module:name) → where it is in the release that still has it; "" where it is gone without a successor.
_DEPRECATED_IN_2 = {
    "airflow.contrib": "",
    "airflow.hooks.base_hook": "airflow.hooks.base",
    "airflow.operators.bash_operator": "airflow.operators.bash",
    "airflow.operators.python_operator": "airflow.operators.python",
    "airflow.operators.branch_operator": "airflow.operators.branch",
    "airflow.operators.dummy": "airflow.operators.empty",
    "airflow.operators.dummy_operator": "airflow.operators.empty",
    "airflow.operators.email_operator": "airflow.operators.email",
    "airflow.operators.subdag": "airflow.utils.task_group",
    "airflow.operators.subdag_operator": "airflow.utils.task_group",
    "airflow.operators.sql": "airflow.providers.common.sql.operators.sql",
    "airflow.sensors.base_sensor_operator": "airflow.sensors.base",
    "airflow.sensors.external_task_sensor": "airflow.sensors.external_task",
    "airflow.utils.dates:days_ago": "pendulum.today('UTC').add(days=-N)",
    "airflow.utils.log.secrets_masker": "airflow.sdk.execution_time.secrets_masker",
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
    "airflow.utils.task_group": "airflow.sdk",
    "airflow.utils.dates": "pendulum",
}


class DeprecatedImport(NamedTuple):
    """An import to change: the module, where it stands, its new place, and whether this release already warns."""

    module: str
    line: int
    column: int
    successor: str
    now: bool


def moved(module: str) -> str:
    """Where a module went, or ""."""
    for table in (_DEPRECATED_IN_2, _MOVED_IN_3):
        found = _match(module, table)
        if found is not None:
            return found[1]
    return ""


def deprecated_imports(source: str, release: Tuple[int, ...]) -> Iterator[DeprecatedImport]:
    """The imports of a file that `release` or the next has deprecated; none when the file is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
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
