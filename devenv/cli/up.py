"""`devenv up`."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from devenv.cli.context import backend_from, console, project_from
from devenv.cli.origins import taken
from devenv.components import BY_NAME, OPTIONAL
from devenv.dag_environment import left_out
from devenv.errors import DevenvError
from devenv.events import Notice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from devenv.boot.step import Step
    from devenv.project import Project


class BackendName(str, Enum):
    """What `--backend` takes."""

    auto = "auto"
    minikube = "minikube"
    kubernetes = "kubernetes"
    local = "local"


class Executor(str, Enum):
    """What `--executor` takes."""

    KubernetesExecutor = "KubernetesExecutor"
    LocalExecutor = "LocalExecutor"
    SequentialExecutor = "SequentialExecutor"
    CeleryExecutor = "CeleryExecutor"


if TYPE_CHECKING:
    Part = str
else:
    Part = Enum("Part", {name: name for name in BY_NAME}, type=str)
    """What `--with` takes; a member equals its name."""


def command(
    *,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Boot and return; nothing watches the DAG folder.")
    ] = False,
    backend: Annotated[
        BackendName | None, typer.Option(metavar="NAME", help="Where Airflow runs: auto, minikube, kubernetes, local.")
    ] = None,
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="minikube's profile.")] = None,
    context: Annotated[str | None, typer.Option(metavar="NAME", help="The context of --backend kubernetes.")] = None,
    airflow_version: Annotated[
        str | None, typer.Option(metavar="RELEASE", help="Airflow's release: 2.7.2, 3.3.2.")
    ] = None,
    executor: Annotated[
        Executor | None,
        typer.Option(
            metavar="NAME",
            help="Who runs tasks: KubernetesExecutor, LocalExecutor, SequentialExecutor, CeleryExecutor.",
        ),
    ] = None,
    parts: Annotated[
        list[Part] | None,
        typer.Option(
            "--with",
            metavar="PART",
            help=f"{', '.join([*BY_NAME][:-1])} or {[*BY_NAME][-1]}; may be repeated.",
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="PORT", help="Airflow's port on 127.0.0.1.")] = None,
    env_file: Annotated[str | None, typer.Option(metavar="FILE", help="In place of .env, in the project.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Answer yes to what would be asked.")] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Use a DAG volume that another environment filled and no longer uses.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Starts Airflow and Vault, then watches the DAG folder.

    Run again, it does nothing that is done already; interrupted, it goes on where it stopped. Flags are
    remembered until the next `devenv up` with flags, or `devenv destroy`.

    Examples:
      devenv up                              Minikube where it is there, else local
      devenv up --backend local --detach     no Docker needed; returns when all runs
      devenv up --with monitoring            with Prometheus and Grafana
    """
    flags = _settings(
        backend=backend,
        profile=profile,
        context=context,
        version=airflow_version,
        executor=executor,
        parts=parts,
        port=port,
        env_file=env_file,
    )
    given = any(value is not None for value in flags.values())
    project = project_from(flags=flags, as_last_up=not given)
    _up(project, backend, flags if given else None, detach=detach, yes=yes, dry_run=dry_run, take_over=take_over)


def _up(
    project: Project,
    flag: BackendName | None,
    flags: dict[str, Any] | None,
    *,
    detach: bool,
    yes: bool,
    dry_run: bool,
    take_over: bool,
) -> None:
    from devenv.airflow.upgrade import ReleaseTooOld
    from devenv.boot.runner import run_steps
    from devenv.cli.summary import print_summary
    from devenv.settings.remembered import remember, remembered
    from devenv.sync.lock import holder
    from devenv.sync.roots import require_dag_folder

    require_dag_folder(project)
    out = console()
    backend = backend_from(project, flag.value if flag else None, needs_running=False)
    out.report(Notice("info", f"{backend.name}: {backend.reason}"))
    for notice in _taken_over(project):
        out.report(notice)
    steps = backend.up_steps()
    if dry_run:
        _print_plan(steps)
        return
    before = remembered(project.data_folder)
    if flags is not None:
        remember(project.data_folder, flags)
    try:
        run_steps(steps, out.report)
    except ReleaseTooOld:
        # Nothing was changed: the other commands are about the release that runs.
        remember(project.data_folder, before)
        raise
    print_summary(backend, backend.status(), reveal=False)
    watcher = holder(project.state_folder)
    if watcher is not None:
        out.report(Notice("info", f"process {watcher.pid} watches {project.settings.sync.dags}/ already"))
    elif detach:
        out.report(Notice("info", "nothing watches the DAG folder", "devenv watch"))
    else:
        from devenv.cli.watch import watch

        watch(project, backend, yes=yes, take_over=take_over)


def _taken_over(project: Project) -> Iterator[Notice]:
    """What the repository answers in place of `devenv.toml`, and which variables of `.env` are left out."""
    for line in taken(project.found):
        yield Notice("info", line)
    if project.not_taken:
        count = "1 thing" if len(project.not_taken) == 1 else f"{len(project.not_taken)} things"
        yield Notice("info", f"{count} in the repository's files cannot be taken over", "devenv config --origins")
    names = left_out(project)
    if names:
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        yield Notice("info", f"{project.settings.env_file} has {listed}, which devenv sets itself")


def _settings(
    *,
    backend: BackendName | None,
    profile: str | None,
    context: str | None,
    version: str | None,
    executor: Executor | None,
    parts: list[Part] | None,
    port: int | None,
    env_file: str | None,
) -> dict[str, Any]:
    """The flags as settings; what is not given is None."""
    wanted = set(parts or ())
    components = [component.name for component in OPTIONAL if component.by == "components" and component.name in wanted]
    if "celery" in wanted and executor is None:
        executor = Executor.CeleryExecutor
    if context is not None and backend is None:
        backend = BackendName.kubernetes
    return {
        "backend": backend.value if backend else None,
        "minikube.profile": profile,
        "kubernetes.context": context,
        "airflow.version": version,
        "airflow.executor": executor.value if executor else None,
        "airflow.schedulers": 2 if "ha" in wanted else None,
        "components": components or None,
        "ports.airflow": port,
        "env_file": env_file,
    }


def _print_plan(steps: Sequence[Step]) -> None:
    """What `run_steps` would do, as far as it can be known before the first step."""
    out = console()
    rows = []
    for step in steps:
        try:
            done = step.check()
        except DevenvError:
            done = False  # it cannot be asked before an earlier step has run
        rows.append((step.title, "already so" if done else "would be done"))
        out.record("plan.step", {"name": step.name, "title": step.title, "done": done})
    out.table(("step", "state"), rows)
