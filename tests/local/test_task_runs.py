"""Test runs in forks of a process with real Airflow: every kind of task, and what tasks do to their process."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from devenv.agent.tasks.request import ConnectionRequest, PytestRequest, Request
from devenv.agent_program import agent_command
from devenv.backends.base import TaskRunner
from devenv.environment import Environment
from devenv.sync.targets.child import ChildDuplex
from devenv.tasks.model import (
    ConnectionTested,
    DebuggerWaits,
    InputWanted,
    Printed,
    RunEnded,
    RunEvent,
    RunMade,
    RunRefused,
    TaskBegan,
    TaskEnded,
)
from devenv.tasks.packages import DEBUGPY, PYTEST, archive
from devenv.tasks.session import TaskSession
from tests.support.dap import DapClient

from .conftest import cache_folder, eventually, left

pytestmark = [pytest.mark.local, pytest.mark.timeout(900)]

HEADER = """
import os, subprocess, sys, time
from datetime import datetime, timedelta
try:
    from airflow.sdk import dag, task, setup, teardown
    from airflow.sdk.bases.sensor import PokeReturnValue
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:
    from airflow.decorators import dag, task, setup, teardown
    from airflow.sensors.base import PokeReturnValue
    from airflow.operators.bash import BashOperator

FIXED = dict(schedule=None, start_date=datetime(2024, 1, 1), catchup=False)
"""
FILES = {
    "flow.py": HEADER
    + """
@dag(**FIXED, params={"region": "eu"})
def flow():
    @task
    def extract(ds=None, params=None, dag_run=None):
        print("on", ds, "in", params["region"], "with", dag_run.conf)
        return {"rows": 3}

    @task(retries=5, retry_delay=timedelta(hours=1))
    def numbers(found):
        import logging
        logging.getLogger("shop").info("found %s", found)
        print("to standard error", file=sys.stderr)
        return list(range(found["rows"]))

    @task
    def double(number):
        return 2 * number

    @task
    def total(doubled):
        return sum(doubled)

    shell = BashOperator(task_id="shell", bash_command="echo from the shell; echo $AIRFLOW_CTX_DAG_ID")
    total(double.expand(number=numbers(extract()))) >> shell

flow()
""",
    "kinds.py": HEADER
    + """
@dag(**FIXED)
def kinds():
    @task.branch
    def choose():
        return "left"

    @task
    def left():
        from airflow.exceptions import AirflowSkipException
        raise AirflowSkipException("not today")

    @task
    def right():
        print("never")

    @task(trigger_rule="all_done")
    def join():
        print("joined")

    @task.short_circuit
    def gate():
        return False

    @task
    def behind_gate():
        print("never")

    @task.sensor(mode="reschedule", poke_interval=60, timeout=3600)
    def waits():
        return PokeReturnValue(is_done=False)

    @setup
    def make():
        print("made")

    @teardown
    def remove():
        print("removed")

    @task
    def use():
        raise ValueError("used up")

    choose() >> [left(), right()] >> join()
    gate() >> behind_gate()
    waits()
    made, removed = make(), remove()
    made >> use() >> removed
    made >> removed

kinds()
""",
    "defers.py": HEADER
    + """
from airflow.models import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

class Soon(BaseTrigger):
    def __init__(self, words):
        super().__init__()
        self.words = words

    def serialize(self):
        return "defers.Soon", {"words": self.words}

    async def run(self):
        yield TriggerEvent({"words": self.words})

class Defers(BaseOperator):
    def execute(self, context):
        self.defer(trigger=Soon(words="soon enough"), method_name="resume")

    def resume(self, context, event=None):
        print("resumed by", event["words"])
        return event["words"]

@dag(**FIXED)
def defers():
    Defers(task_id="wait")

defers()
""",
    "harm.py": HEADER
    + """
@dag(**FIXED)
def harm():
    @task
    def leaves_at_once():
        print("before the end", flush=True)
        os._exit(7)

    @task
    def hangs():
        print("hanging", flush=True)
        child = subprocess.Popen(["sleep", "300"])
        print("child", child.pid, flush=True)
        child.wait()

    @task
    def leaves_a_process():
        process = subprocess.Popen(["sleep", "301"], start_new_session=True)
        print("left", process.pid)

    @task
    def floods():
        for number in range(100):
            sys.stdout.write(("x" * 1023 + "\\\\n") * 256)
        print("last line")

    @task
    def eats():
        held = []
        while True:
            held.append(bytearray(os.urandom(1024) * 10_240))

    @task
    def closes_the_database():
        from airflow import settings
        settings.engine.dispose()
        settings.Session.remove()
        print("closed")

    leaves_at_once(); hangs(); leaves_a_process(); floods(); eats(); closes_the_database()

harm()
""",
    "secret.py": HEADER
    + """
try:
    from airflow.sdk import Variable
except ImportError:
    from airflow.models import Variable

@dag(**FIXED)
def secret():
    @task
    def show():
        print("region is", Variable.get("region"))
        print("password is", Variable.get("shop_password"))
        print("set for this run:", os.environ["SHOP_MODE"])

    show()

secret()
""",
    "looked_at.py": HEADER
    + """
@dag(**FIXED)
def looked_at():
    @task
    def double(number=21):
        doubled = number * 2
        print("doubled is", doubled)
        return doubled

    @task
    def asks():
        answer = 41
        breakpoint()
        print("the answer is", answer)

    double()
    asks()

looked_at()
""",
    "tested.py": HEADER
    + """
try:
    from airflow.sdk import Variable
    from airflow.sdk.bases.hook import BaseHook
except ImportError:
    from airflow.hooks.base import BaseHook
    from airflow.models import Variable

@dag(**FIXED, params={"rate": 2})
def tested():
    @task
    def extract():
        return [1, 2, 3]

    @task
    def double(number, params=None):
        print("doubling", number)
        return number * params["rate"]

    @task
    def total(numbers, ds=None):
        host = BaseHook.get_connection("warehouse").host
        return {"sum": sum(numbers), "region": Variable.get("region"), "host": host, "day": ds}

    @task
    def fails():
        raise ValueError("no such table")

    report = BashOperator(task_id="report", bash_command="echo {{ ds }} {{ ti.xcom_pull(task_ids='total') }}")
    total(double.expand(number=extract())) >> report >> fails()

tested()
""",
    "broken.py": HEADER + "@dag(**FIXED)\ndef broken():\n    pass\n\nimport not_there_at_all\nbroken()\n",
}


TESTS = """
import pytest

def test_the_files_that_do_not_parse_are_known(dag_bag):
    assert [file.rpartition("/")[2] for file in dag_bag.import_errors] == ["broken.py"]

def test_a_dag(dag):
    assert set(dag("tested").task_dict) == {"extract", "double", "total", "report", "fails"}

def test_a_dag_that_is_not_there(dag):
    with pytest.raises(pytest.fail.Exception, match="no DAG file makes 'nothing'"):
        dag("nothing")

@pytest.mark.parametrize("region", ["eu", "us"])
def test_what_a_test_gives_is_what_the_task_gets(run_task, region):
    warehouse = {"conn_type": "postgres", "host": "db.example.com"}
    result = run_task(
        "tested", "total", xcoms={"double": [2, 4]}, connections={"warehouse": warehouse},
        variables={"region": region}, date="2026-01-31",
    )
    assert result.state == "success", result.log
    assert result.return_value == {"sum": 6, "region": region, "host": "db.example.com", "day": "2026-01-31"}

def test_one_of_a_mapped_task(run_task):
    result = run_task("tested", "double", xcoms={"extract": [5, 6]}, params={"rate": 10}, map_index=1)
    assert (result.state, result.return_value) == ("success", 60), result.log
    assert "doubling 6" in result.log

def test_a_task_that_fails(run_task):
    result = run_task("tested", "fails")
    assert result.state == "failed"
    assert isinstance(result.error, ValueError)

def test_what_is_rendered(render):
    assert render("tested", "report", xcoms={"total": 7}, date="2026-01-31")["bash_command"] == "echo 2026-01-31 7"

def test_that_fails():
    assert 1 == 2
"""


@dataclass
class Runs:
    """Sessions to one warm process, and what it was started with."""

    runner: TaskRunner
    release: str
    home: Path
    python: str

    @contextlib.contextmanager
    def session(self) -> Iterator[TaskSession]:
        session = TaskSession(self.runner)
        try:
            yield session
        finally:
            session.close()

    def run(self, dag_id: str, task_id: str = "", **asked: object) -> Outcome:
        with self.session() as session:
            return Outcome(list(session.run(Request(dag_id, task_id, **asked))))  # type: ignore[arg-type]

    def warm(self) -> psutil.Process:
        """The process that has Airflow loaded."""
        found = [
            process
            for process in psutil.process_iter(["cmdline"])
            if "devenv.agent.tasks.server" in (process.info["cmdline"] or ()) and str(self.home) in str(process.info)
        ]
        (process,) = found
        return process


@dataclass
class Outcome:
    """The events of a run, taken apart."""

    events: list[RunEvent]

    @property
    def output(self) -> str:
        return b"".join(event.data for event in self.events if isinstance(event, Printed)).decode()

    @property
    def states(self) -> dict[str, str]:
        return {event.name: event.state for event in self.events if isinstance(event, TaskEnded)}

    @property
    def end(self) -> RunEnded:
        last = self.events[-1]
        assert isinstance(last, RunEnded)
        return last

    def ended(self, name: str) -> TaskEnded:
        (found,) = [event for event in self.events if isinstance(event, TaskEnded) and event.name == name]
        return found

    @property
    def refused(self) -> RunRefused:
        (found,) = [event for event in self.events if isinstance(event, RunRefused)]
        return found


@pytest.fixture(scope="module", params=["2.7.2", "3.3.2"])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    from devenv.local.virtualenv import Installer

    environment = Environment(variables={**Environment().variables, "DEVENV_CACHE": str(cache_folder())})
    python = Installer(environment).airflow(request.param, Path("requirements.txt"), print)
    folder = tmp_path_factory.mktemp("tasks")
    dags, home = folder / "dags", folder / "home"
    dags.mkdir()
    home.mkdir()
    for name, text in FILES.items():
        (dags / name).write_text(text)
    variables = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_VAR_REGION": "eu-west",
        "AIRFLOW_VAR_SHOP_PASSWORD": "correct horse battery",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = agent_command(str(python), module="tasks.session")
    made = Runs(
        TaskRunner(
            open=lambda: ChildDuplex(command, variables=variables, cwd=home),
            folders={"dags": str(dags)},
            linger=600.0,
            owner=os.getpid(),
        ),
        request.param,
        folder,
        str(python),
    )
    with made.session():
        pass
    warm = made.warm()
    yield made
    warm.terminate()
    warm.wait(30)


def test_a_whole_dag_runs_with_what_its_tasks_push(runs: Runs) -> None:
    outcome = runs.run("flow", conf={"day": "monday"}, date="2026-01-31T00:00:00+00:00", files=("dags/flow.py",))
    assert outcome.states == {
        "extract": "success",
        "numbers": "success",
        "double[0]": "success",
        "double[1]": "success",
        "double[2]": "success",
        "total": "success",
        "shell": "success",
    }, outcome.output
    assert outcome.end == RunEnded(0)
    assert outcome.ended("total").xcoms == {"return_value": "6"}
    assert "on 2026-01-31 in eu with {'day': 'monday'}" in outcome.output
    assert "INFO found {'rows': 3}" in outcome.output
    assert "to standard error" in outcome.output
    assert "from the shell" in outcome.output
    assert "Pushing xcom" not in outcome.output  # what Airflow says of its own work
    began = [event.task_id for event in outcome.events if isinstance(event, TaskBegan)]
    assert began[:2] == ["extract", "numbers"]
    assert "Marking task" in (verbose := runs.run("flow", "extract", verbose=True).output) or "xcom" in verbose


def test_a_task_alone_and_with_what_comes_before_it(runs: Runs) -> None:
    alone = runs.run("flow", "numbers")
    made = next(event for event in alone.events if isinstance(event, RunMade))
    assert (made.existing, made.bare) == (False, True)
    ended = alone.ended("numbers")
    assert (ended.state, alone.end.code) == ("failed", 1)  # tried once, whatever its retries say
    assert ended.problem is not None
    assert (ended.problem.type, ended.problem.file) == ("TypeError", "dags/flow.py")
    line = FILES["flow.py"].splitlines()[ended.problem.line - 1]
    assert "range(found" in line
    assert any("range(found" in each for each in ended.problem.excerpt)
    whole = runs.run("flow", "double", from_start=True)
    assert whole.states == dict.fromkeys(("extract", "numbers", "double[0]", "double[1]", "double[2]"), "success")
    assert runs.run("flow", "double").refused.reason == "map-index"


def test_what_decides_which_tasks_run(runs: Runs) -> None:
    outcome = runs.run("kinds")
    assert outcome.states == {
        "choose": "success",
        "left": "skipped",
        "right": "skipped",
        "join": "success",
        "gate": "success",
        "behind_gate": "skipped",
        "waits": "up_for_reschedule",
        "make": "success",
        "use": "failed",
        "remove": "success",
    }, outcome.output
    assert "removed" in outcome.output
    assert "never" not in outcome.output
    assert outcome.end.code == 1


def test_a_task_that_defers_goes_on_in_place(runs: Runs) -> None:
    outcome = runs.run("defers")
    assert outcome.states == {"wait": "success"}, outcome.output
    assert "resumed by soon enough" in outcome.output


def test_variables_are_found_and_secrets_are_blanked(runs: Runs) -> None:
    outcome = runs.run("secret", variables={"SHOP_MODE": "trial"})
    assert outcome.states == {"show": "success"}, outcome.output
    assert "region is eu-west" in outcome.output
    assert "password is ***" in outcome.output
    assert "correct horse" not in outcome.output
    assert "set for this run: trial" in outcome.output


def test_what_does_not_exist_and_what_does_not_parse(runs: Runs) -> None:
    assert (refused := runs.run("flaw").refused).reason == "dag"
    assert "flow" in refused.known
    assert (refused := runs.run("flow", "extrac").refused).reason == "task"
    assert "extract" in refused.known
    assert runs.run("flow", "extract", run_id="manual__never").refused.reason == "run"
    broken = runs.run("broken", files=("dags/broken.py",)).refused
    assert (broken.reason, broken.file) == ("broken", "dags/broken.py")
    assert [problem.rule for problem in broken.problems if problem.severity == "error"] == ["missing-package"]


def test_a_save_is_what_runs_next(runs: Runs) -> None:
    path = runs.home / "dags" / "saved.py"
    for number in range(3):
        body = f"    @task\n    def say():\n        print('version {number}')\n    say()\nsaved()\n"
        path.write_text(f"{HEADER}@dag(**FIXED)\ndef saved():\n{body}")
        assert f"version {number}" in runs.run("saved", files=("dags/saved.py",)).output


def nothing_runs(runs: Runs) -> None:
    """The process that has Airflow loaded has no child left."""
    eventually(lambda: not [child for child in runs.warm().children(recursive=True) if left([child])])


def test_tasks_that_harm_their_process_harm_nothing_else(runs: Runs) -> None:
    warm = runs.warm()
    assert "before the end" in (gone := runs.run("harm", "leaves_at_once")).output
    assert gone.end == RunEnded(7)
    assert (closed := runs.run("harm", "closes_the_database")).end == RunEnded(0), closed.output
    left_over = runs.run("harm", "leaves_a_process")
    pid = int(left_over.output.partition("left ")[2].split()[0])
    eventually(lambda: not psutil.pid_exists(pid))
    assert runs.run("flow", "extract").end == RunEnded(0)
    assert warm.is_running()
    nothing_runs(runs)
    assert not list(Path(warm.environ().get("TMPDIR", "/tmp")).glob(f"devenv-tasks-*/run-{warm.pid}-*"))


def test_a_flood_of_output_arrives_whole(runs: Runs) -> None:
    outcome = runs.run("harm", "floods")
    assert outcome.states == {"floods": "success"}
    assert outcome.output.count("x" * 1023) == 25_600
    assert "last line" in outcome.output
    assert runs.warm().memory_info().rss < 600 * 1_048_576


def test_an_interrupt_ends_a_task_that_hangs_and_what_it_started(runs: Runs) -> None:
    seen: list[RunEvent] = []
    with runs.session() as session:
        for event in session.run(Request("harm", "hangs")):
            seen.append(event)
            if isinstance(event, Printed) and b"child" in event.data:
                session.interrupt()
    outcome = Outcome(seen)
    assert outcome.end.code != 0 or outcome.end.signal
    pid = int(outcome.output.partition("child ")[2].split()[0])
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_session_that_leaves_takes_its_run_with_it(runs: Runs) -> None:
    with runs.session() as session:
        started = next(event for event in session.run(Request("harm", "hangs")) if b"child" in _data(event))
    pid = int(_data(started).partition(b"child ")[2].split()[0])
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert runs.run("flow", "extract").end == RunEnded(0)


def test_two_at_once(runs: Runs) -> None:
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(runs.run("flow"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert [outcome.end for outcome in outcomes] == [RunEnded(0), RunEnded(0)], [each.output for each in outcomes]


def test_the_process_ends_with_its_owner(runs: Runs) -> None:
    import subprocess

    owner = subprocess.Popen(["sleep", "600"])
    folders = {**runs.runner.folders, "plugins": str(runs.home / "plugins")}
    session = TaskSession(TaskRunner(runs.runner.open, folders, 600.0, owner.pid))
    session.close()
    began = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "devenv.agent.tasks.server" in (process.info["cmdline"] or ())
        and f'"owner": {owner.pid}' in str(process.info)
    ]
    assert len(began) == 1
    owner.kill()
    owner.wait()
    eventually(lambda: not left(began))


def _data(event: RunEvent) -> bytes:
    return event.data if isinstance(event, Printed) else b""


def test_a_breakpoint_is_hit_and_steps_go_on(runs: Runs, tmp_path: Path) -> None:
    """The editor's file is another one than the one that runs, and is mapped."""
    here = tmp_path / "dags"
    here.mkdir()
    file = here / "looked_at.py"
    file.write_text(FILES["looked_at.py"])
    line = FILES["looked_at.py"].splitlines().index("        doubled = number * 2") + 1
    with runs.session() as session:
        session.send(DEBUGPY.name, archive(DEBUGPY, Environment()))
        events = session.run(Request("looked_at", "double", debug=True))
        waits = next(event for event in events if isinstance(event, DebuggerWaits))
        with DapClient(waits.port) as editor:
            editor.attach({str(here): runs.runner.folders["dags"]}, {str(file): [line]})
            thread = editor.event("stopped")["threadId"]
            frame = editor.frame(thread)
            assert (frame["source"]["path"], frame["line"]) == (str(file), line)
            assert editor.variables(frame["id"]) == {"number": "21"}
            editor.request("next", {"threadId": thread})
            assert editor.event("stopped")["reason"] == "step"
            assert editor.variables(editor.frame(thread)["id"]) == {"number": "21", "doubled": "42"}
            editor.request("continue", {"threadId": thread})
            outcome = Outcome(list(events))
            editor.event("terminated")
    assert (outcome.states, outcome.end.code) == ({"double": "success"}, 0), outcome.output
    assert "doubled is 42" in outcome.output
    nothing_runs(runs)


def test_an_editor_that_never_comes_is_not_waited_for_after_ctrl_c(runs: Runs) -> None:
    with runs.session() as session:
        session.send(DEBUGPY.name, archive(DEBUGPY, Environment()))
        for event in session.run(Request("looked_at", "double", debug=True)):
            if isinstance(event, DebuggerWaits):
                session.interrupt()
                break
        rest = list(session.rest())
    assert isinstance(rest[-1], RunEnded)
    nothing_runs(runs)


def test_breakpoint_opens_pdb_on_the_laptop(runs: Runs) -> None:
    typed = iter(["p answer\n", "!answer = 42\n", "continue\n"])
    seen: list[RunEvent] = []
    with runs.session() as session:
        for event in session.run(Request("looked_at", "asks", terminal=True)):
            seen.append(event)
            if isinstance(event, InputWanted):
                session.type(next(typed))
    outcome = Outcome(seen)
    assert outcome.states == {"asks": "success"}, outcome.output
    assert "41\n" in outcome.output
    assert "the answer is 42" in outcome.output


def test_the_end_of_input_ends_pdb_and_the_task(runs: Runs) -> None:
    with runs.session() as session:
        seen: list[RunEvent] = []
        for event in session.run(Request("looked_at", "asks", terminal=True)):
            seen.append(event)
            if isinstance(event, InputWanted):
                session.type("")
    assert Outcome(seen).states == {"asks": "failed"}


def test_pytest_runs_in_the_process_that_has_airflow_loaded(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_tested.py").write_text(TESTS)
    with runs.session() as session:
        session.send(PYTEST.name, archive(PYTEST, Environment()))
        request = PytestRequest(str(tmp_path), dict(runs.runner.folders), ("-q", "-W", "ignore"))
        outcome = Outcome(list(session.run(request)))
    assert "1 failed, 8 passed" in outcome.output, outcome.output
    assert "assert 1 == 2" in outcome.output
    assert outcome.end.code == 1
    nothing_runs(runs)


def test_pytest_alone_has_the_same_fixtures(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "test_tested.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(f"[pytest]\ndag_folder = {runs.runner.folders['dags']}\n")
    packages = tmp_path / "packages"
    with zipfile.ZipFile(io.BytesIO(archive(PYTEST, Environment()))) as packed:
        packed.extractall(packages)
    program = f"import sys; sys.path[:0] = [{str(packages)!r}, {str(Path(__file__).parents[2])!r}]; import pytest; "
    program += "sys.exit(pytest.main(['-p', 'devenv.agent.testing.plugin', '-q', '-W', 'ignore']))"
    done = subprocess.run(
        [runs.python, "-c", program],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ("1 failed, 8 passed" in done.stdout, done.returncode) == (True, 1), done.stdout + done.stderr
    assert not list(tmp_path.glob("airflow*"))


def test_a_connection_is_tested_by_its_hook(runs: Runs) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    variables = {"AIRFLOW_CONN_WAREHOUSE": f"postgres://me:secret@127.0.0.1:{port}/shop"}
    with runs.session() as session:
        *_, tested, ended = session.run(ConnectionRequest("warehouse", variables))
    assert isinstance(tested, ConnectionTested)
    assert (tested.found, tested.type, tested.works, ended) == (True, "postgres", False, RunEnded(1))
    assert "refused" in tested.message
    with runs.session() as session:
        *_, unknown, _ended = session.run(ConnectionRequest("nobodys"))
    assert isinstance(unknown, ConnectionTested)
    assert not unknown.found
