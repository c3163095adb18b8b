"""What the warm process does before the first parse, so that no parse has to do it again."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

from devenv.agent.parse import Release

_COMMON = (
    "airflow.operators.bash",
    "airflow.operators.empty",
    "airflow.operators.python",
    "airflow.decorators",
    "airflow.providers.standard.operators.bash",
    "airflow.providers.standard.operators.empty",
    "airflow.providers.standard.operators.python",
    "airflow.sdk",
)


def warm_up(release: Release) -> None:
    """Fills the caches that each parse would fill again in its own process: a third of a small file's time.

    They are those of the providers' manager, of abstract base classes, signatures and the schema of serialised DAGs.
    """
    for module in _COMMON:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    with contextlib.suppress(Exception):
        from airflow.providers_manager import ProvidersManager

        _ = ProvidersManager().extra_links_class_names
    with contextlib.suppress(Exception):  # a release that builds a DAG otherwise is slower, no more
        release.serializer.to_dict(_rehearsal(release))


def _rehearsal(release: Release) -> Any:
    """A throwaway DAG with a task of either kind."""
    from datetime import datetime, timezone

    authoring: Any = importlib.import_module("airflow.sdk" if release.version >= (3,) else "airflow.decorators")
    operators: Any = importlib.import_module(
        "airflow.providers.standard.operators.bash" if release.version >= (3,) else "airflow.operators.bash"
    )

    @authoring.dag(start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), schedule=None)  # type: ignore[untyped-decorator, unused-ignore]
    def devenv_rehearsal() -> None:
        @authoring.task  # type: ignore[untyped-decorator, unused-ignore]
        def first() -> int:
            return 1

        operators.BashOperator(task_id="second", bash_command="true").set_upstream(first())

    return devenv_rehearsal()
