"""`airflow.cfg` of the local backend: what differs from a cluster's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devenv.airflow.configuration import ExecutorUnknown, Layout, airflow_config, render
from devenv.airflow.releases import Release

if TYPE_CHECKING:
    from devenv.local.session import LocalSession
    from devenv.settings.schema import ConfigValue

EXECUTORS = ("LocalExecutor", "SequentialExecutor")
PARALLELISM = 8
"""Tasks at once; each costs a process of Airflow's on the laptop, and 2.x starts this many beforehand."""


def executor(session: LocalSession) -> str:
    """Who runs tasks here.

    Raises:
        ExecutorUnknown: the settings name one that needs a cluster.
    """
    release = Release(session.release)
    wanted = session.project.settings.airflow.executor
    if wanted is None:
        return "SequentialExecutor" if session.postgres is None and not release.is_3 else "LocalExecutor"
    if wanted not in EXECUTORS or wanted not in release.executors:
        raise ExecutorUnknown(
            f"The local backend cannot run the {wanted} with Airflow {release.version}",
            hint="set airflow.executor to LocalExecutor, or use minikube: devenv up --backend minikube",
        )
    return wanted


def template(session: LocalSession) -> str:
    """`airflow.cfg` with the placeholders that `fetch_secrets.py` fills.

    Raises:
        ExecutorUnknown, OptionsUnknown: the settings ask for what is not possible.
    """
    project, places, ports = session.project, session.places, session.ports()
    synced = project.settings.sync
    plugins = places.claim / "plugins" if "plugins" in synced.folders else project.folder / "plugins"
    layout = Layout(
        executor=executor(session),
        dags=str(places.claim / "dags"),
        plugins=str(plugins),
        logs=str(places.task_logs),
        scratch=str(places.airflow_home / "scratch"),
        secrets=str(places.secrets),
        page_port=ports.airflow,
        api_server_url=f"http://127.0.0.1:{ports.airflow}",
        views_may_change=plugins.is_dir(),
    )
    page = "api" if Release(session.release).is_3 else "webserver"
    additions: dict[str, dict[str, ConfigValue]] = {
        "core": {"parallelism": PARALLELISM},
        page: {"base_url": f"http://127.0.0.1:{ports.airflow}"},
    }
    files = sum(1 for _ in project.dag_folder.rglob("*.py")) if project.dag_folder.is_dir() else 0
    return render(airflow_config(project.settings, layout, parsed_files=files, additions=additions))
