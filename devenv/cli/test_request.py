"""What `devenv test` and `devenv debug` are asked: their common flags, and the request that these make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from devenv.cli.completion import complete_dag, complete_task
from devenv.cli.context import session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devenv.agent.tasks.request import Request
    from devenv.errors import DevenvError
    from devenv.project import Project
    from devenv.tasks.model import RunRefused

Dag = Annotated[str, typer.Argument(metavar="DAG", help="The DAG's id.", autocompletion=complete_dag)]
Task = Annotated[
    str | None,
    typer.Argument(
        metavar="TASK", help="Only this task, with what came before it in the latest run.", autocompletion=complete_task
    ),
]
RunId = Annotated[
    str, typer.Option("--run", metavar="RUN", help="The run whose date, configuration and XComs the task gets.")
]
FromStart = Annotated[
    bool, typer.Option("--from-start", help="Run what comes before the task first, in a run of its own.")
]
MapIndex = Annotated[
    int, typer.Option("--map-index", metavar="N", help="Only this one of a mapped task; without it, all.")
]
LogicalDate = Annotated[str, typer.Option(metavar="DATE", help="The logical date; without it, now or the run's.")]
Conf = Annotated[
    str, typer.Option(metavar="JSON", help="The run's configuration: a JSON object, @FILE, or - for standard input.")
]


def asked_of(
    dag: str, task: str | None, *, run: str, from_start: bool, map_index: int, date: str, conf: str
) -> dict[str, Any]:
    """The fields of `Request` that flags give.

    Raises:
        UsageError: they do not go together, or one of them cannot be read.
    """
    from devenv.airflow.runs import parse_date
    from devenv.cli.run import read_conf
    from devenv.errors import UsageError

    if (run or from_start or map_index >= 0) and not task:
        raise UsageError("--run, --from-start and --map-index are for one task", hint=f"devenv test {dag} TASK")
    if run and from_start:
        raise UsageError("--run takes what a run has pushed, and --from-start makes a new run", hint="name one of them")
    return {
        "run_id": run,
        "from_start": from_start,
        "map_index": map_index,
        "date": parse_date(date, "--date").isoformat() if date else "",
        "conf": read_conf(conf) if conf else None,
    }


def request_of(project: Project, dag_id: str, task_id: str, **asked: Any) -> Request:
    """What a project's DAG needs to run, with whatever else of `Request` is asked."""
    from devenv import dag_environment
    from devenv.agent.tasks.request import Request
    from devenv.airflow import runs
    from devenv.journal import files_that_make

    files = [*files_that_make(project.state_folder, dag_id)]
    files += [f"dags/{name}" for name in runs.files_naming(project.dag_folder, dag_id) if name.endswith(".py")]
    return Request(
        dag_id,
        task_id,
        files=tuple(dict.fromkeys(files)),
        variables=dag_environment.variables(project),
        verbose=session().verbose > 0,
        vault_mount=project.settings.vault.mount,
        **asked,
    )


def refusal(request: Request, refused: RunRefused) -> DevenvError:
    """The error of a run that could not begin, with the nearest name where one was mistyped."""
    import difflib

    from devenv.airflow.client import DagBroken
    from devenv.tasks.errors import NothingToTest

    if refused.reason == "broken":
        return DagBroken(f"{refused.message}, so {request.dag_id} cannot run", hint=f"devenv check {refused.file}")
    asked = request.task_id if refused.reason == "task" else request.dag_id
    near: Sequence[str] = difflib.get_close_matches(asked, refused.known, 1)
    if near:
        words = ["devenv", "test", near[0]] if refused.reason == "dag" else ["devenv", "test", request.dag_id, near[0]]
        return NothingToTest(refused.message, hint=" ".join(words))
    if refused.reason == "task" and refused.known:
        return NothingToTest(refused.message, hint=f"one of {', '.join(refused.known[:12])}")
    hint = f"devenv test {request.dag_id} {request.task_id} --from-start" if request.task_id else "devenv dags"
    return NothingToTest(refused.message, hint=hint)
