"""The REST client, the daily verbs and the doctor against a real Airflow 2.7.2 with Vault and Postgres."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devenv.airflow import runs
from devenv.airflow.client import AirflowClient, DagUnknown, RunUnknown
from devenv.airflow.rest import AirflowLoginRefused, Credentials
from devenv.doctor.check import Finding, diagnose
from devenv.doctor.examine import all_checks
from devenv.doctor.machine import Machine
from devenv.events import Event, Notice, StepFailed, StepFinished
from devenv.local.answering import require_answers
from devenv.local.errors import AirflowBroken
from devenv.local.session import LocalSession
from devenv.logs.task import TaskLogQuery, task_logs
from devenv.tasks.triggers import Triggers
from devenv.verdict import Verdict

from .conftest import HELLO, World, eventually, watching

pytestmark = [pytest.mark.local, pytest.mark.timeout(900)]

FAILS = """
from datetime import datetime
from airflow.decorators import dag, task

@dag(schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False)
def fails():
    @task
    def fine(ds=None, **context):
        print("conf is", context["dag_run"].conf, "on", ds)
    @task
    def explode():
        raise ValueError("no such table: orders")
    fine() >> explode()

fails()
"""


@pytest.fixture(scope="module", autouse=True)
def watched(airflow_2: World) -> Iterator[None]:
    airflow_2.write("fails.py", FAILS)
    airflow = airflow_2.backend().airflow()
    with watching(airflow_2):
        eventually(lambda: airflow.find_dag("fails") is not None, 300)
        yield


@pytest.fixture(scope="module")
def client(airflow_2: World) -> AirflowClient:
    return airflow_2.backend().airflow()


@dataclass
class Done:
    code: int
    output: str
    errors: str


def devenv(made: World, *arguments: str) -> Done:
    """The real program, in the project."""
    settings = {
        "DEVENV_BACKEND": "local",
        "DEVENV_PORTS__AIRFLOW": str(made.settings.ports.airflow),
        "DEVENV_PORTS__VAULT": str(made.settings.ports.vault),
    }
    done = subprocess.run(
        [sys.executable, "-m", "devenv", *arguments],
        cwd=made.folder,
        env={**made.variables, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_one_session_is_logged_in_once_and_by_cookie(client: AirflowClient) -> None:
    assert client.version() == "2.7.2"
    assert client._rest._session is not None
    assert "Authorization" not in client._rest._session.headers
    assert "session" in client._rest._session.cookies
    health = client.health()
    assert health["scheduler"].status == health["metadatabase"].status == "healthy"


def test_a_failing_run_is_told_task_by_task_and_says_why(airflow_2: World, client: AirflowClient) -> None:
    events: list[object] = []
    run = runs.start_run(client, "fails", {"day": 1}, list, events.append)
    progress = runs.follow_run(client, run, events.append)
    assert [event.name for event in events if isinstance(event, StepFinished)] == ["fine"]
    assert [event.name for event in events if isinstance(event, StepFailed)] == ["explode"]
    with pytest.raises(runs.RunFailed) as caught:
        runs.check_success(client, progress, lambda text: text)
    detail = str(caught.value.detail)
    assert "ValueError: no such table: orders" in detail
    assert "site-packages/airflow" not in detail
    assert caught.value.hint == f"devenv logs fails explode --run {run.run_id}"
    (line,) = [
        line.text
        for line in task_logs(airflow_2.backend(), TaskLogQuery("fails", "fine", run.run_id))
        if "conf is" in line.text
    ]
    assert "conf is {'day': 1}" in line


def test_what_does_not_exist_is_named(airflow_2: World, client: AirflowClient) -> None:
    with pytest.raises(DagUnknown, match="did you mean fails"):
        client.dag("fail")
    with pytest.raises(DagUnknown):
        client.latest_run("fail")
    with pytest.raises(RunUnknown):
        client.task_instances("fails", "manual__never")
    with pytest.raises(RunUnknown, match="did you mean explode"):
        list(task_logs(airflow_2.backend(), TaskLogQuery("fails", "explod")))
    wrong = AirflowClient(client.base_url, Credentials("admin", "wrong"), "2.7.2")
    with pytest.raises(AirflowLoginRefused):
        wrong.dags()


def test_a_file_that_does_not_parse_is_why_its_dag_cannot_run(airflow_2: World, client: AirflowClient) -> None:
    path = airflow_2.write("absent.py", "import pandaz  # a DAG of airflow: absent")
    eventually(lambda: any(problem.file.endswith("absent.py") for problem in client.import_errors()))
    done = devenv(airflow_2, "run", "absent")
    assert done.code == 1
    assert "No module named 'pandaz'" in done.errors
    listed = devenv(airflow_2, "dags")
    assert "absent.py" in listed.output
    path.unlink()
    eventually(lambda: not client.import_errors())


def test_a_backfill_runs_each_day_once(airflow_2: World, client: AirflowClient) -> None:
    done = devenv(airflow_2, "backfill", "hello", "--from", "2026-02-01", "--to", "2026-01-01")
    assert done.code == 2
    day = runs.parse_date("2026-03-01", "--from")
    last = runs.parse_date("2026-03-02", "--to")
    failed = devenv(airflow_2, "backfill", "fails", "--from", "2026-03-01", "--to", "2026-03-02")
    assert failed.code == 1
    made = client.runs_between("fails", day, last)
    assert [run.run_id for run in made] == [f"backfill__2026-03-0{day}T00:00:00+00:00" for day in (1, 2)]
    assert {run.state for run in made} == {"failed"}


def test_an_airflow_that_answers_with_errors_is_not_up(airflow_2: World) -> None:
    session = LocalSession(airflow_2.project)
    require_answers(session)
    devenv(
        airflow_2, "psql", "-c", "ALTER TABLE dag_tag RENAME TO dag_tag_away"
    )  # as packages that do not fit, HTTP 500
    try:
        with pytest.raises(AirflowBroken, match=r"2\.7\.2 runs, but does not answer as it should.*HTTP 500"):
            require_answers(session)
    finally:
        devenv(airflow_2, "psql", "-c", "ALTER TABLE dag_tag_away RENAME TO dag_tag")
    require_answers(session)


SLOW = """\
import os, signal, time
from datetime import datetime
from airflow import DAG
from airflow.operators.python import PythonOperator

with DAG("slow", start_date=datetime(2024, 1, 1), schedule=None):
    first = PythonOperator(task_id="first", python_callable=lambda: time.sleep(6))
    first >> PythonOperator(task_id="second", python_callable=print)

with DAG("killed", start_date=datetime(2024, 1, 1), schedule=None):
    PythonOperator(task_id="load", python_callable=lambda: os.kill(os.getpid(), signal.SIGKILL))
"""
TIDIED = """\
from datetime import datetime
from airflow import DAG
from airflow.operators.python import PythonOperator

with DAG("tidied", start_date=datetime(2024, 1, 1), schedule=None):
    load = PythonOperator(task_id="load", python_callable=lambda: 1 / 0)
    load >> PythonOperator(task_id="tidy", python_callable=print, trigger_rule="all_done")
"""
PUSHES = """
from datetime import datetime
from airflow.decorators import dag, task
from airflow.models import Variable

@dag(schedule=None, start_date=datetime(2026, 1, 1), catchup=False)
def pushes():
    @task
    def first(dag_run=None):
        return {"day": dag_run.conf.get("day", "none")}
    @task
    def second(found):
        print("found", found, "in", Variable.get("kept_in_the_database"))
    second(first())

pushes()
"""


def test_what_failed_runs_again_in_its_run(airflow_2: World, client: AirflowClient) -> None:
    client.unpause("fails")
    run_id = client.trigger("fails", {})
    assert client.wait_run("fails", run_id, seconds=180).state == "failed"
    listed = devenv(airflow_2, "rerun", "fails", "--dry-run")
    assert (listed.code, listed.output.splitlines()[1:]) == (0, ["  explode"]), listed.errors
    again = devenv(airflow_2, "rerun", "fails", "--run", run_id)
    assert (again.code, "explode failed" in again.errors) == (1, True), again.errors
    tries = {task.task_id: task.try_number for task in client.task_instances("fails", run_id)}
    assert tries["explode"] == 2
    whole = devenv(airflow_2, "rerun", "fails", "explode", "--upstream", "--dry-run", "--run", run_id)
    assert whole.output.splitlines()[1:] == ["  explode", "  fine"]
    fine = devenv(airflow_2, "rerun", "fails", "fine", "--only", "--run", run_id)
    assert (fine.code, "fine succeeded" in fine.output) == (0, True), fine.errors


def test_a_task_that_fails_again_is_said_though_its_run_succeeds(airflow_2: World, client: AirflowClient) -> None:
    airflow_2.write("tidied.py", TIDIED)
    eventually(lambda: client.find_dag("tidied"))
    client.unpause("tidied")
    run_id = client.trigger("tidied", {})
    assert client.wait_run("tidied", run_id, seconds=180).state == "success"
    again = devenv(airflow_2, "rerun", "tidied", "load", "--run", run_id)
    assert (again.code, "load failed" in again.errors) == (1, True), again.errors
    tidy = devenv(airflow_2, "rerun", "tidied", "tidy", "--run", run_id)
    assert (tidy.code, "tidy succeeded" in tidy.output) == (0, True), tidy.errors


def test_a_run_whose_dag_is_paused_and_then_removed_is_waited_for_no_longer(
    airflow_2: World, client: AirflowClient
) -> None:
    path = airflow_2.write("slow.py", SLOW)
    eventually(lambda: client.find_dag("slow"))
    client.unpause("slow")
    run = client.run("slow", client.trigger("slow", {}))
    eventually(lambda: [task for task in client.task_instances("slow", run.run_id) if task.state == "running"])
    assert devenv(airflow_2, "airflow", "dags", "pause", "slow").code == 0
    heard: list[Event] = []

    def hear(event: Event) -> None:
        heard.append(event)
        if isinstance(event, Notice) and "slow was paused" in event.message:
            path.unlink()

    with pytest.raises(runs.RunFailed, match="slow is no longer there"):
        runs.follow_run(client, run, hear)
    assert [event for event in heard if isinstance(event, Notice) and "slow was paused" in event.message]


def test_a_process_of_a_task_that_was_killed_is_named(airflow_2: World, client: AirflowClient) -> None:
    path = airflow_2.write("slow.py", SLOW)
    eventually(lambda: client.find_dag("killed"))
    ended = devenv(airflow_2, "run", "killed", "--wait")
    assert (ended.code, "was killed (SIGKILL), most often for its memory" in ended.errors) == (1, True), ended.errors
    path.unlink()


def test_a_save_makes_a_watched_test_run_again(airflow_2: World) -> None:
    path = airflow_2.write("again.py", PUSHES.replace("pushes", "again"))
    with Triggers(airflow_2.project, airflow_2.backend(), "again", ["dags/again.py"]) as triggers:
        eventually(lambda: _saved(airflow_2, triggers, "again.py", "x = 1\n"))
        broken = _saved(airflow_2, triggers, "again.py", "import not_there\n")
        assert broken is not None
        assert (broken.ok, broken.dag_ids) == (False, ())
        airflow_2.write("hello.py", HELLO + "\n")  # another file's save is nothing to it
        assert triggers.next(2.0) is None
    path.unlink()


def _saved(made: World, triggers: Triggers, name: str, more: str) -> Verdict | None:
    made.write(name, PUSHES.replace("pushes", "again") + more)
    return triggers.next(20.0)


def test_a_task_gets_what_the_latest_run_pushed_and_leaves_nothing(airflow_2: World, client: AirflowClient) -> None:
    airflow_2.write("pushes.py", PUSHES)
    eventually(lambda: client.find_dag("pushes"))
    client.unpause("pushes")
    devenv(airflow_2, "airflow", "variables", "set", "kept_in_the_database", "the shop")
    days = {day: client.trigger("pushes", {"day": day}) for day in ("monday", "tuesday")}
    for run_id in days.values():
        assert client.wait_run("pushes", run_id, seconds=180).state == "success"
    count = "select (select count(*) from dag_run) || ' ' || (select count(*) from task_instance)"
    before = devenv(airflow_2, "psql", "-At", "-c", f"{count} || ' ' || (select count(*) from xcom)").output
    latest = devenv(airflow_2, "test", "pushes", "second")
    assert (latest.code, "found {'day': 'tuesday'} in the shop" in latest.output) == (0, True), latest.output
    named = devenv(airflow_2, "test", "pushes", "second", "--run", days["monday"])
    assert (named.code, "found {'day': 'monday'} in the shop" in named.output) == (0, True), named.output
    whole = devenv(airflow_2, "test", "pushes", "--conf", '{"day": "sunday"}')
    assert (whole.code, "found {'day': 'sunday'} in the shop" in whole.output) == (0, True), whole.output
    unknown = devenv(airflow_2, "test", "pushes", "secnd")
    assert (unknown.code, "DEVENV-740" in unknown.errors, "pushes second" in unknown.errors) == (2, True, True)
    after = devenv(airflow_2, "psql", "-At", "-c", f"{count} || ' ' || (select count(*) from xcom)").output
    assert after == before


def test_what_runs_inside_a_component(airflow_2: World) -> None:
    tested = devenv(airflow_2, "test", "fails", "fine", "--date", "2026-04-04")
    assert (tested.code, "on 2026-04-04" in tested.output + tested.errors) == (0, True), tested.errors[-3000:]
    assert devenv(airflow_2, "test", "fails", "explode").code == 1
    assert devenv(airflow_2, "test", "fails").code == 1  # which Airflow 2.7 itself ends with 0
    assert devenv(airflow_2, "airflow", "version").output.strip().endswith("2.7.2")
    assert devenv(airflow_2, "psql", "-At", "-c", "select 40 + 2").output.strip() == "42"
    exports = devenv(airflow_2, "env").output
    assert "AIRFLOW_HOME=" in exports
    assert "PASSWORD" not in exports
    assert "VAULT_TOKEN=" in devenv(airflow_2, "env", "--reveal").output
    assert devenv(airflow_2, "open", "--print").output.startswith("http://127.0.0.1:")


def finding(made: World, name: str) -> Finding:
    checks = all_checks(Machine(made.project.environment), made.project, made.backend())
    return next(result.finding for result in diagnose(checks) if result.check.name == name)


def test_the_doctor_finds_everything_well(airflow_2: World) -> None:
    results = diagnose(all_checks(Machine(airflow_2.project.environment), airflow_2.project, airflow_2.backend()))
    assert [result.finding.cause for result in results if result.finding.level == "failure"] == []
    assert {result.check.name for result in results if not result.ran} == set()


def test_the_doctor_finds_secrets_that_are_gone(airflow_2: World) -> None:
    vault = airflow_2.backend().vault()
    kept = vault.secrets.kv.v2.read_secret_version("kyuubi/database", raise_on_deleted_version=True)["data"]["data"]
    vault.secrets.kv.v2.delete_metadata_and_all_versions("kyuubi/database")
    try:
        found = finding(airflow_2, "vault")
        assert "secret/kyuubi/database" in found.cause
        assert found.remedy == "devenv secrets seed"
    finally:
        vault.secrets.kv.v2.create_or_update_secret("kyuubi/database", kept)
    assert finding(airflow_2, "vault").level == "ok"


def test_the_doctor_finds_a_copy_that_is_not_in_step(airflow_2: World) -> None:
    claim = Path(airflow_2.folder / ".devenv" / "airflow" / "dags")
    target = claim / "hello.py"
    good = target.read_bytes()
    target.write_bytes(good + b"# changed there\n")
    try:
        assert "hello.py" in finding(airflow_2, "sync").cause
    finally:
        target.write_bytes(good)


def test_the_doctor_finds_a_webserver_that_hangs_and_the_log_is_read_from_the_volume(airflow_2: World) -> None:
    client = airflow_2.backend().airflow()
    client.unpause("fails")
    run_id = client.trigger("fails", {})  # its own run: others leave later ones, and it may be tried alone
    assert client.wait_run("fails", run_id, seconds=180).state == "failed"
    page = airflow_2.process("webserver")
    import psutil

    family = [psutil.Process(page), *psutil.Process(page).children(recursive=True)]
    for process in family:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        found = finding(airflow_2, "webserver")
        assert found.level == "failure"
        lines = [line.text for line in task_logs(airflow_2.backend(), TaskLogQuery("fails", "explode", run_id))]
        assert any("no such table: orders" in line for line in lines), lines
    finally:
        for process in family:
            os.kill(process.pid, signal.SIGCONT)
