"""The agent with a real Airflow, one warm process for all: what a save sets off, the policies, the scheduler's word."""

from __future__ import annotations

import hashlib
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv import process
from devenv.agent.warm import MANY
from devenv.environment import Environment
from devenv.settings.schema import CheckSettings
from devenv.sync.model import Batch, Entry, Put
from devenv.sync.targets.agent import AgentOptions, AgentTarget, Owner, agent_command
from devenv.sync.targets.child import ChildDuplex
from devenv.verdict import Verdict

from .conftest import cache_folder
from .test_verdicts import airflow_variables

pytestmark = [pytest.mark.local, pytest.mark.timeout(600)]

SECONDS = 120.0
CHECK = CheckSettings(retries="error", owner="warning", email_on_failure="off")
DAG = """
from datetime import datetime, timedelta
from airflow import DAG
from airflow.operators.empty import EmptyOperator
{imports}
with DAG("{name}", schedule=None, start_date=datetime(2024, 1, 1),
         default_args=dict(owner="ann", retries=1, retry_delay=timedelta(minutes=1))):
    EmptyOperator(task_id="only")
"""
SCHEDULER = """
import sys
from datetime import datetime, timezone
from airflow import settings
from airflow.models.base import Base
from airflow.models.dag import DagModel
from airflow.models.errors import ImportError
import airflow.models
airflow.models.import_all_models()
Base.metadata.create_all(settings.engine, tables=[DagModel.__table__, ImportError.__table__])
when = datetime(2024, 5, 1, tzinfo=timezone.utc)
trace = 'Traceback:\\n  File "%s/bad.py", line 1, in <module>\\n' % sys.argv[1]
trace += "ModuleNotFoundError: No module named 'x'\\n"
with settings.Session() as session:
    session.add(DagModel(dag_id="good", fileloc=sys.argv[1] + "/good.py", is_active=True, last_parsed_time=when))
    session.add(DagModel(dag_id="gone", fileloc=sys.argv[1] + "/gone.py", is_active=False, last_parsed_time=when))
    session.add(ImportError(filename=sys.argv[1] + "/bad.py", stacktrace=trace, timestamp=when))
    session.commit()
"""


class Agent:
    """A session with the agent on a claim of its own, and every verdict in order."""

    def __init__(self, python: Path, folder: Path) -> None:
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


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    from devenv.backends.local.virtualenv import Installer

    environment = Environment(variables={**Environment().variables, "DEVENV_CACHE": str(cache_folder())})
    python = Installer(environment).airflow("2.7.2", Path("requirements.txt"), print)
    made = Agent(python, tmp_path_factory.mktemp("agent"))
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
            "dag_helper.py": DAG.format(name="by_helper", imports="import helper"),
            "dag_package.py": DAG.format(name="by_package", imports="import pack.inner"),
            "dag_yaml.py": DAG.format(
                name="by_yaml",
                imports="import os\nopen(os.path.join(os.path.dirname(__file__), 'conf.yaml')).read()",
            ),
            "dag_relative.py": DAG.format(name="by_relative", imports="from pack import outer"),
            "dag_alone.py": DAG.format(name="alone", imports=""),
        },
        "dag_helper.py",
        "dag_package.py",
        "dag_yaml.py",
        "dag_alone.py",
        "dag_relative.py",
    )
    alone = agent.modified("dag_alone.py")
    for changed, dependents in {
        "helper.py": {"dag_helper.py"},
        "pack/inner.py": {"dag_package.py", "dag_relative.py"},
        "conf.yaml": {"dag_yaml.py"},
    }.items():
        before = {name: agent.modified(name) for name in dependents}
        found = agent.save({changed: f"# {changed}\n"}, *dependents)
        assert {name: found[name].because for name in dependents} == dict.fromkeys(dependents, f"dags/{changed}")
        assert all(agent.modified(name) > earlier for name, earlier in before.items())
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


def test_a_zip_with_dags(agent: Agent, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("zipped.py", DAG.format(name="zipped", imports="import zipped_helper"))
        archive.writestr("zipped_helper.py", "")
    found = agent.save({"some.zip": (tmp_path / "some.zip").read_bytes()})["some.zip"]
    assert (found.ok, found.dag_ids) == (True, ("zipped",))


def test_the_policies_at_each_level(agent: Agent) -> None:
    bare = DAG.format(name="bare", imports="").replace(
        'default_args=dict(owner="ann", retries=1, retry_delay=timedelta(minutes=1))', "default_args={}"
    )
    found = agent.save({"bare.py": bare})["bare.py"]
    assert not found.ok
    assert {name: level for name, level in rules(found).items() if name.startswith("policy-")} == {
        "policy-retries": "error",
        "policy-owner": "warning",
    }
    well = agent.save({"bare.py": DAG.format(name="bare", imports="")})["bare.py"]
    assert not any(name.startswith("policy-") for name in rules(well))


def test_a_missing_variable_names_the_mount_of_the_settings(agent: Agent) -> None:
    imports = "from airflow.models import Variable\nVariable.get('nowhere')"
    (problem,) = agent.save({"asks.py": DAG.format(name="asks", imports=imports)})["asks.py"].problems[:1]
    assert problem.rule == "missing-variable"
    assert "team/variables/nowhere" in problem.hint


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
