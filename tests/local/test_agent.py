"""The agent with a real Airflow, one warm process for all: what a save sets off, the policies, the scheduler's word."""

from __future__ import annotations

import hashlib
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devenv import process
from devenv.agent.warm import MANY
from devenv.agent_program import agent_command
from devenv.environment import Environment
from devenv.settings.schema import CheckSettings
from devenv.sync.model import Batch, Entry, Put
from devenv.sync.targets.agent import AgentOptions, AgentTarget, Owner
from devenv.sync.targets.child import ChildDuplex
from devenv.verdict import Verdict

from .conftest import cache_folder, eventually
from .test_verdicts import airflow_variables

pytestmark = [pytest.mark.local, pytest.mark.timeout(600)]

SECONDS = 120.0
CHECK = CheckSettings(
    retries="error",
    owner="warning",
    email_on_failure="warning",
    start_date="error",
    top_level_io="error",
    slow_top_level="off",
)
DAG = """
from datetime import datetime, timedelta
try:
    from airflow.sdk import DAG, BaseHook, Variable
    from airflow.providers.standard.operators.empty import EmptyOperator
except ImportError:
    from airflow import DAG
    from airflow.hooks.base import BaseHook
    from airflow.models import Variable
    from airflow.operators.empty import EmptyOperator
{imports}
with DAG("{name}", schedule=None, start_date=datetime(2024, 1, 1),
         default_args=dict(owner="ann", retries=1, retry_delay=timedelta(minutes=1), email_on_failure=False)):
    EmptyOperator(task_id="only")
"""
DEFAULTS = DAG[DAG.index("default_args=") : DAG.index("):\n    EmptyOperator")]
SCHEDULER = """
import sys
from datetime import datetime, timezone
from airflow import __version__, settings
from airflow.models import errors
from airflow.models.base import Base
from airflow.models.dag import DagModel
import airflow.models
airflow.models.import_all_models()
folder = sys.argv[1]
noted = dict(timestamp=datetime(2024, 5, 1, tzinfo=timezone.utc))
noted["stacktrace"] = 'Traceback:\\n  File "%s/bad.py", line 1, in <module>\\n' % folder
noted["stacktrace"] += "ModuleNotFoundError: No module named 'x'\\n"
if __version__ >= "3":
    from airflow.models.dagbundle import DagBundleModel
    tables, before = [DagModel, errors.ParseImportError, DagBundleModel], [DagBundleModel(name="dags-folder")]
    bad = errors.ParseImportError(filename="bad.py", bundle_name="dags-folder", **noted)
    place = lambda name, gone: dict(relative_fileloc=name + ".py", bundle_name="dags-folder", is_stale=gone)
else:
    tables, before = [DagModel, errors.ImportError], []
    bad = errors.ImportError(filename=folder + "/bad.py", **noted)
    place = lambda name, gone: dict(is_active=not gone)
def dag(name, gone):
    where = place(name, gone)
    return DagModel(dag_id=name, fileloc=f"{folder}/{name}.py", last_parsed_time=noted["timestamp"], **where)
Base.metadata.create_all(settings.engine, tables=[table.__table__ for table in tables])
with settings.Session() as session:
    session.add_all(before)
    session.flush()
    session.add_all([dag("good", False), dag("gone", True), bad])
    session.commit()
"""


class Agent:
    """A session with the agent on a claim of its own, and every verdict in order."""

    def __init__(self, release: str, python: Path, folder: Path) -> None:
        self.release = release
        self.folder = folder / "claim"
        self.folder.mkdir()
        self.variables = airflow_variables(folder / "home", self.folder / "dags")
        self.python = python
        self.verdicts: list[Verdict] = []
        self._changed = threading.Condition()
        options = AgentOptions(
            claim=str(self.folder), airflow=str(self.folder), check=CHECK, linger=0.0, vault_mount="team"
        )
        self.target = AgentTarget(
            lambda: ChildDuplex(agent_command(str(python)), variables=self.variables),
            self,
            Owner("agent", "", "", ""),
            ["dags"],
            options,
        )
        self.target.manifest()

    def verdict(self, verdict: Verdict) -> None:
        with self._changed:
            self.verdicts.append(verdict)
            self._changed.notify_all()

    def lost(self, reason: str) -> None:
        raise AssertionError(reason)

    def save(self, files: dict[str, str | bytes], *expected: str, delete: tuple[str, ...] = ()) -> dict[str, Verdict]:
        """Writes files in one batch and waits for the verdicts on these files that it sets off."""
        seen = len(self.verdicts)
        puts = []
        for path, text in files.items():
            content = text.encode() if isinstance(text, str) else text
            entry = Entry(f"dags/{path}", "file", hashlib.sha256(content).hexdigest(), len(content))
            puts.append(Put(entry, lambda content=content: content))  # type: ignore[misc]
        acks = self.target.apply(Batch(puts=tuple(puts), deletes=tuple(f"dags/{path}" for path in delete)))
        assert all(ack.ok for ack in acks), acks
        wanted = {f"dags/{path}" for path in (expected or files)}

        def new() -> dict[str, Verdict]:
            return {verdict.file.removeprefix("dags/"): verdict for verdict in self.verdicts[seen:]}

        with self._changed:
            assert self._changed.wait_for(lambda: wanted <= {f"dags/{name}" for name in new()}, SECONDS), new()
            return new()

    def modified(self, path: str) -> int:
        return (self.folder / "dags" / path).stat().st_mtime_ns


@pytest.fixture(scope="module", params=["2.7.2", "3.3.2"])
def agent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    from devenv.local.virtualenv import Installer

    environment = Environment(variables={**Environment().variables, "DEVENV_CACHE": str(cache_folder())})
    python = Installer(environment).airflow(request.param, Path("requirements.txt"), print)
    made = Agent(request.param, python, tmp_path_factory.mktemp("agent"))
    yield made
    made.target.close()


def rules(verdict: Verdict) -> dict[str, str]:
    return {one.rule: one.severity for one in verdict.problems if one.severity != "info"}


def test_what_a_dag_file_depends_on_sets_off_its_parse_and_touches_it(agent: Agent) -> None:
    agent.save(
        {
            "helper.py": "",
            "pack/__init__.py": "",
            "pack/inner.py": "",
            "pack/outer.py": "from .inner import __name__ as inner\n",
            "conf.yaml": "a: 1\n",
            "config/one.yaml": "a: 1\n",
            "late.py": "",
            "dag_helper.py": DAG.format(name="by_helper", imports="import helper"),
            "dag_package.py": DAG.format(name="by_package", imports="import pack.inner"),
            "dag_yaml.py": DAG.format(
                name="by_yaml",
                imports="import os\nopen(os.path.join(os.path.dirname(__file__), 'conf.yaml')).read()",
            ),
            "dag_relative.py": DAG.format(name="by_relative", imports="from pack import outer"),
            "dag_listed.py": DAG.format(
                name="by_folder",
                imports="import os\nos.listdir(os.path.join(os.path.dirname(__file__), 'config'))",
            ),
            "dag_dynamic.py": DAG.format(
                name="by_importlib", imports="import importlib\nimportlib.import_module('late')"
            ),
            "dag_alone.py": DAG.format(name="alone", imports=""),
        },
        "dag_helper.py",
        "dag_package.py",
        "dag_yaml.py",
        "dag_alone.py",
        "dag_relative.py",
        "dag_listed.py",
        "dag_dynamic.py",
    )
    alone = agent.modified("dag_alone.py")
    for changed, dependents in {
        "helper.py": {"dag_helper.py"},
        "pack/inner.py": {"dag_package.py", "dag_relative.py"},
        "conf.yaml": {"dag_yaml.py"},
        "config/two.yaml": {"dag_listed.py"},
        "late.py": {"dag_dynamic.py"},
    }.items():
        before = {name: agent.modified(name) for name in dependents}
        found = agent.save({changed: f"# {changed}\n"}, *dependents)
        assert {name: found[name].because for name in dependents} == dict.fromkeys(dependents, f"dags/{changed}")
        eventually(
            lambda before=before: all(agent.modified(name) > earlier for name, earlier in before.items()), SECONDS
        )
        assert "dag_alone.py" not in found
    assert agent.modified("dag_alone.py") == alone

    broken = agent.save({"helper.py": "import surely_not_there\n"}, "dag_helper.py")["dag_helper.py"]
    (problem,) = [one for one in broken.problems if one.severity == "error"]
    assert (problem.rule, problem.file, problem.line) == ("missing-package", "dags/helper.py", 1)
    assert agent.save({"helper.py": ""}, "dag_helper.py")["dag_helper.py"].ok


def test_duplicate_ids_across_files_come_and_go(agent: Agent) -> None:
    text = DAG.format(name="twice", imports="")
    agent.save({"first.py": text})
    found = agent.save({"second.py": text}, "first.py", "second.py")
    assert all(rules(found[name]).get("duplicate-dag-id") for name in ("first.py", "second.py"))
    again = agent.save({}, "first.py", delete=("second.py",))["first.py"]
    assert "duplicate-dag-id" not in rules(again)


def test_a_save_during_a_first_sync_has_its_verdict_first(agent: Agent) -> None:
    many = {f"many/{number}.py": "# airflow dag\nimport time\ntime.sleep(0.05)\n" for number in range(MANY)}
    seen = len(agent.verdicts)
    agent.save(many, "many/0.py")
    agent.save({"hurried.py": DAG.format(name="hurried", imports="")})
    order = [verdict.file for verdict in agent.verdicts[seen:]]
    assert order.index("dags/hurried.py") < MANY


def test_what_a_save_adds_changes_and_removes(agent: Agent) -> None:
    both = DAG.format(name="stays", imports="") + DAG.format(name="goes", imports="")
    first = agent.save({"several.py": both})["several.py"]
    assert (first.added, first.changed, first.removed) == (("goes", "stays"), (), ())
    text = DAG.format(name="stays", imports="").replace("only", "other") + DAG.format(name="comes", imports="")
    then = agent.save({"several.py": text})["several.py"]
    assert (then.added, then.changed, then.removed) == (("comes",), ("stays",), ("goes",))


def test_what_a_file_starts_ends_with_its_parse(agent: Agent, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    starts = f"""
import os, subprocess, time
if os.fork() == 0:
    os.setsid()
    open({str(note)!r}, "w").write(str(os.getpid()))
    time.sleep(3600)
while not os.path.exists({str(note)!r}) or not open({str(note)!r}).read():
    time.sleep(0.01)
"""
    assert agent.save({"starts.py": DAG.format(name="starts", imports=starts)})["starts.py"].ok
    eventually(lambda: not psutil.pid_exists(int(note.read_text())), SECONDS)


def test_zips(agent: Agent, tmp_path: Path) -> None:
    def packed(folder: str) -> bytes:
        with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
            archive.writestr(folder + "zipped.py", DAG.format(name="zipped", imports="import zipped_helper"))
            archive.writestr("zipped_helper.py", "")
        return (tmp_path / "some.zip").read_bytes()

    found = agent.save({"some.zip": packed("")})["some.zip"]
    assert (found.ok, found.dag_ids) == (True, ("zipped",))
    (problem,) = agent.save({"some.zip": packed("folder/")})["some.zip"].problems
    assert (problem.rule, problem.severity) == ("no-dag-found", "warning")


def policies(verdict: Verdict) -> dict[str, str]:
    return {name: level for name, level in rules(verdict).items() if name.startswith("policy-")}


def test_the_policies_at_each_level(agent: Agent) -> None:
    bare = DAG.format(name="bare", imports="import time\ntime.sleep(1.2)").replace(DEFAULTS, "default_args={}")
    found = agent.save({"bare.py": bare})["bare.py"]
    assert not found.ok
    assert policies(found) == {
        "policy-retries": "error",
        "policy-owner": "warning",
        "policy-email-on-failure": "warning",
    }
    assert "slow-top-level" not in rules(found)
    well = agent.save({"bare.py": DAG.format(name="bare", imports="")})["bare.py"]
    assert not policies(well)
    asks = DAG.format(name="bare", imports="import sqlite3\nsqlite3.connect(':memory:').close()")
    assert rules(agent.save({"bare.py": asks})["bare.py"])["top-level-io"] == "error"


def test_a_dag_without_a_start_date(agent: Agent) -> None:
    """2.7.2 itself refuses one with a task that has none either, so there the policy speaks of a DAG without tasks."""
    text = DAG.format(name="dateless", imports="").replace("start_date=datetime(2024, 1, 1),", "")
    found = rules(agent.save({"dateless.py": text})["dateless.py"])
    assert found.get("invalid-dag" if agent.release == "2.7.2" else "policy-start-date") == "error"
    empty = text.replace('EmptyOperator(task_id="only")', "pass")
    assert policies(agent.save({"dateless.py": empty})["dateless.py"]) == {"policy-start-date": "error"}
    dated = text.replace('task_id="only"', 'task_id="only", start_date=datetime(2024, 1, 1)')
    assert agent.save({"dateless.py": dated})["dateless.py"].ok


def test_what_is_missing_has_its_place_in_the_vault_of_the_settings(agent: Agent) -> None:
    for kind, asks in (("variable", "Variable.get('nowhere')"), ("connection", "BaseHook.get_connection('nowhere')")):
        (problem,) = agent.save({"asks.py": DAG.format(name="asks", imports=asks)})["asks.py"].problems[:1]
        assert problem.rule == f"missing-{kind}"
        assert f"team/{kind}s/nowhere" in problem.hint


def test_what_the_scheduler_noted(agent: Agent) -> None:
    dags = agent.folder / "dags"
    process.run([agent.python, "-c", SCHEDULER, dags], variables=agent.variables, timeout=SECONDS)
    deadline = time.monotonic() + SECONDS  # a busy machine answers the first question late
    while not (report := agent.target.scheduler()).at:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    when = 1714521600.0
    assert report.parsed == {"dags/good.py": when}
    (error,) = report.errors["dags/bad.py"].problems
    assert (error.type, error.message, error.file, error.line) == (
        "ModuleNotFoundError",
        "No module named 'x'",
        "dags/bad.py",
        1,
    )
