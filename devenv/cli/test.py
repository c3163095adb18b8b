"""`devenv test`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from devenv.cli.attached import run_inside
from devenv.cli.completion import complete_dag, complete_task
from devenv.cli.context import backend_from, project_from, session

# Airflow 2.7's `tasks test` fails with NoReferencedTableError for `ab_user` where the day has no run yet, unless the
# module that defines this table was imported.
_TASKS_TEST = """\
import sys
try:
    import airflow.auth.managers.fab.models
except ImportError:
    pass
from airflow.__main__ import main
sys.argv[0] = "airflow"
sys.exit(main())
"""

# `dags test` ends with 0 before 2.11, also when a task fails: the run that it left says how it went.
_DAGS_TEST = """\
import sys
from airflow.__main__ import main
dag_id = sys.argv[1]
sys.argv = ["airflow", "dags", "test", *sys.argv[2:]]
code = 0
try:
    main()
except SystemExit as end:
    code = end.code or 0
if not code:
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    with create_session() as session:
        run = session.query(DagRun).filter(DagRun.dag_id == dag_id).order_by(DagRun.start_date.desc()).first()
        code = 1 if run is not None and run.state == "failed" else 0
sys.exit(code)
"""


def command(
    *,
    dag: Annotated[str, typer.Argument(metavar="DAG", help="The DAG's id.", autocompletion=complete_dag)],
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK", help="Only this task, without what comes before it.", autocompletion=complete_task
        ),
    ] = None,
    date: Annotated[str, typer.Option(metavar="DATE", help="The logical date; without it, today.")] = "",
    conf: Annotated[
        str, typer.Option(metavar="JSON", help="The run's configuration, as in `devenv run`; not for a task.")
    ] = "",
) -> int:
    """Runs a DAG, or one task of it, once in the scheduler's place, without the scheduler and its executor.

    The output is the tasks' own; a task that fails ends it with exit code 1.

    Examples:
      devenv test sales
      devenv test sales load --date 2026-01-31
    """
    import json

    from devenv.airflow.releases import Release
    from devenv.airflow.runs import parse_date
    from devenv.cli.run import read_conf
    from devenv.errors import UsageError

    now = session().environment.now()
    when = parse_date(date, "--date").isoformat() if date else time.strftime("%Y-%m-%d", time.gmtime(now))
    configuration = read_conf(conf)
    if task and configuration:
        raise UsageError("--conf is for a whole DAG; one task runs without a configuration", hint=f"devenv test {dag}")
    project = project_from()
    backend = backend_from(project)
    if task:
        return run_inside(backend, "scheduler", ["python", "-c", _TASKS_TEST, "tasks", "test", dag, task, when])
    given = ["--conf", json.dumps(configuration)] if configuration else []
    if Release(project.settings.airflow.version).is_3:
        return run_inside(backend, "scheduler", ["airflow", "dags", "test", *given, dag, when])
    return run_inside(backend, "scheduler", ["python", "-c", _DAGS_TEST, dag, *given, dag, when])
