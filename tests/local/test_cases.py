"""Kinds of DAG files that public reports are about, each with what `devenv check` must say of it.

Where the file processor of a release leaves a trace in its database, it is asked too, so that an expectation cannot
drift away from what the scheduler does (`test_the_file_processor_agrees`).
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devenv.check.run import check
from devenv.environment import Environment
from devenv.project import Project
from devenv.settings.schema import AirflowSettings, CheckSettings, Settings
from devenv.verdict import Problem, Verdict

from .conftest import cache_folder

pytestmark = [pytest.mark.local, pytest.mark.timeout(1200)]

TWO = "from datetime import datetime\nfrom airflow import DAG\nfrom airflow.operators.empty import EmptyOperator\n"
THREE = "from datetime import datetime\nfrom airflow.sdk import DAG\n"
THREE += "from airflow.providers.standard.operators.empty import EmptyOperator\n"
ONLY = '    EmptyOperator(task_id="only")\n'
PYTHON_TWO = "from airflow.operators.python import PythonOperator\n"
PYTHON_THREE = "from airflow.providers.standard.operators.python import PythonOperator\n"


def dag(name: str, arguments: str = "", *, header: str = TWO, body: str = ONLY) -> str:
    """A file with one DAG, whose `with` stands in line 4."""
    more = f", {arguments}" if arguments else ""
    return f'{header}with DAG("{name}", start_date=datetime(2024, 1, 1), schedule=None{more}):\n{body}'


@dataclass
class Case:
    """Files of a project, and what is expected: per DAG file a rule with line, words of message or hint, or None."""

    files: dict[str, str]
    expected: dict[str, tuple[str, int, str] | None]
    releases: tuple[str, ...] = ("2.7.2", "3.3.2")
    links: dict[str, str] = field(default_factory=dict)
    options: dict[str, dict[str, str]] = field(default_factory=dict)
    refused: bool | None = None
    """Whether the release's file processor (on SQLite) leaves a DAG out, or reports it; None where it is not asked."""


CASES = {
    "nan": Case(
        {"dags/nan.py": dag("nan", body="    EmptyOperator(task_id='only', params={'limit': float('nan')})\n")},
        {"dags/nan.py": ("serialization-error", 5, "is NaN, which Postgres")},
        ("2.7.2",),
    ),
    "infinity": Case(
        {
            "dags/inf.py": TWO
            + PYTHON_TWO
            + "with DAG('inf', start_date=datetime(2024, 1, 1), schedule=None):\n"
            + "    PythonOperator(task_id='only', python_callable=print, op_kwargs={'a': [1, float('-inf')]})\n"
        },
        {"dags/inf.py": ("serialization-error", 6, "op_kwargs.a[1] is infinite")},
        ("2.7.2",),
    ),
    "nan-3": Case(
        {
            "dags/nan.py": THREE
            + PYTHON_THREE
            + "with DAG('nan', schedule=None):\n"
            + "    PythonOperator(task_id='only', python_callable=print, op_kwargs={'a': float('nan')})\n"
        },
        {"dags/nan.py": ("serialization-error", 6, "op_kwargs.a is NaN")},
        ("3.3.2",),
    ),
    "nul": Case(
        {"dags/nul.py": dag("nul", r'description="a\x00b"')},
        {"dags/nul.py": ("serialization-error", 4, "description has a NUL character")},
        ("2.7.2",),
    ),
    "owner": Case(
        {"dags/owner.py": dag("owner", 'default_args={"owner": ["sales", "ops"]}')},
        {"dags/owner.py": ("serialization-error", 4, "owner is a list")},
        ("2.7.2",),
        refused=True,
    ),
    "roles": Case(
        {"dags/roles.py": dag("roles", 'access_control={"FinanceTeam": {"can_read"}}')},
        {"dags/roles.py": ("unknown-role", 4, "'FinanceTeam'; the scheduler refuses the DAG unless that role exists")},
        ("2.7.2",),
    ),
    "pod-override-is-a-dict": Case(
        {
            "dags/pod.py": dag(
                "pod", body="    EmptyOperator(task_id='only', executor_config={'pod_override': {'spec': {}}})\n"
            )
        },
        {"dags/pod.py": ("invalid-executor-config", 5, "pod_override that is a dict, not a V1Pod")},
        ("2.7.2",),
    ),
    "executor-config-has-a-function": Case(
        {"dags/pod.py": dag("pod", body="    EmptyOperator(task_id='only', executor_config={'env': len})\n")},
        {"dags/pod.py": ("invalid-executor-config", 5, "a function in env")},
        ("2.7.2",),
    ),
    "quantity": Case(
        {
            "dags/pod.py": dag(
                "pod",
                body="    EmptyOperator(task_id='only', executor_config={'pod_override': k8s.V1Pod(spec=k8s.V1PodSpec("
                "containers=[k8s.V1Container(name='base', resources=k8s.V1ResourceRequirements("
                "requests={'memory': '2 GB'}))]))})\n",
                header=TWO + "from kubernetes.client import models as k8s\n",
            )
        },
        {"dags/pod.py": ("invalid-executor-config", 6, "memory '2 GB', which is no quantity")},
        ("2.7.2",),
    ),
    "cause": Case(
        {
            "dags/loader.py": "def load():\n    try:\n        return {}['tables']\n"
            "    except KeyError as error:\n        raise ValueError('settings cannot be used') from error\n",
            "dags/sales.py": "import loader\nloader.load()\n" + dag("sales"),
        },
        {"dags/sales.py": ("parse-error", 5, "because of KeyError: 'tables' (dags/loader.py:3)")},
        ("2.7.2",),
        refused=True,
    ),
    "handled": Case(
        {
            "dags/handled.py": "import traceback\ntry:\n    import surely_not_there\nexcept ImportError:\n"
            "    reason = traceback.format_exc()\n" + dag("handled", body="    EmptyOperator(task='x')\n")
        },
        {"dags/handled.py": ("parse-error", 10, "task_id")},
        ("2.7.2",),
        refused=True,
    ),
    "handled-3": Case(
        {
            "dags/handled.py": "import traceback\ntry:\n    import surely_not_there\nexcept ImportError:\n"
            "    reason = traceback.format_exc()\n" + dag("handled", header=THREE, body="    EmptyOperator(task='x')\n")
        },
        {"dags/handled.py": ("parse-error", 10, "task_id")},
        ("3.3.2",),
        refused=True,
    ),
    "form-feed": Case(
        {"dags/feed.py": "import os\n\x0c\nNAME = 'a\x85b'\n" + dag("feed", body="    EmptyOperator(tsk='x')\n")},
        {"dags/feed.py": ("parse-error", 8, "task_id")},
        ("2.7.2",),
        refused=True,
    ),
    "place-by-the-call": Case(
        {
            "dags/cycle.py": TWO
            + 'args = {"owner": "billing"}\nwith DAG("billing", start_date=datetime(2024, 1, 1), schedule=None):\n'
            + '    a, b = EmptyOperator(task_id="a"), EmptyOperator(task_id="b")\n    a >> b >> a\n'
        },
        {"dags/cycle.py": ("cycle", 5, "a → b → a")},
        ("2.7.2",),
        refused=True,
    ),
    "surroundings": Case(
        {
            "dags/config/x.json": "[]",
            "dags/home.py": "import os\nopen(os.environ['AIRFLOW_HOME'] + '/dags/config/x.json')\n" + dag("home"),
            "dags/cwd.py": "open('dags/config/x.json')\n" + dag("cwd"),
            "dags/opt.py": "open('/opt/airflow/dags/config/x.json')\n" + dag("opt"),
        },
        {
            "dags/home.py": None,
            "dags/cwd.py": None,
            "dags/opt.py": ("parse-error", 1, "Path(__file__).parent"),
        },
        ("2.7.2",),
    ),
    "database": Case(
        {
            "dags/orm.py": "from airflow.models import Pool\nfrom airflow.utils.session import create_session\n"
            "with create_session() as session:\n    pools = [one.pool for one in session.query(Pool)]\n"
            "assert pools == ['default_pool']\n" + dag("orm")
        },
        {"dags/orm.py": ("top-level-io", 4, "each time that the file is parsed")},
        ("2.7.2",),
        refused=False,
    ),
    "database-3": Case(
        {
            "dags/orm.py": "from airflow.models import DagModel\nfrom airflow.utils.session import create_session\n"
            "with create_session() as session:\n    known = session.query(DagModel).all()\n" + dag("orm", header=THREE)
        },
        {"dags/orm.py": ("database-access", 3, "Direct database access via the ORM is not allowed")},
        ("3.3.2",),
        refused=True,
    ),
    "decorator": Case(
        {
            "dags/docker.py": "from airflow.decorators import dag, task\n"
            "@dag(schedule=None)\ndef docker():\n    @task.docker(image='python')\n    def work(): pass\n    work()\n"
            "docker()\n"
        },
        {"dags/docker.py": ("attribute-error", 4, "requirements.txt: apache-airflow-providers-docker")},
        ("2.7.2",),
        refused=True,
    ),
    "factory-first": Case(
        {
            "dags/a_factory.py": TWO + "def make(name):\n"
            "    with DAG(name, start_date=datetime(2024, 1, 1), schedule=None) as made:\n"
            "        EmptyOperator(task_id='only')\n    return made\n",
            "dags/b_shops.py": "# airflow dag\nfrom a_factory import make\nnorth = make('north')\n",
        },
        {"dags/a_factory.py": None, "dags/b_shops.py": None},
        ("2.7.2",),
    ),
    "safe-mode": Case(
        {
            "dags/builders.py": TWO + "def pipeline(name):\n"
            "    return DAG(name, start_date=datetime(2024, 1, 1), schedule=None)\n",
            "dags/assigned.py": "from builders import pipeline\none = pipeline('one')\n",
            "dags/looped.py": "import builders as b\nfor x in ('n', 's'):\n    globals()[x] = b.pipeline(x)\n",
            "dags/plain.py": "import os\nNAME = os.path.join('a', 'b')\n",
        },
        {
            "dags/assigned.py": ("no-dag-found", 2, "Airflow skips this file"),
            "dags/looped.py": ("no-dag-found", 3, "Airflow skips this file"),
            "dags/plain.py": None,
        },
        ("2.7.2",),
    ),
    "uncalled": Case(
        {
            "dags/two.py": dag("first") + "from airflow.decorators import dag\n"
            "@dag(schedule=None)\ndef second():\n    EmptyOperator(task_id='only')\n"
        },
        {"dags/two.py": ("no-dag-found", 8, "second is decorated with @dag and never called")},
        ("2.7.2",),
        refused=False,
    ),
    "one-id-twice": Case(
        {"dags/twice.py": dag("twice") + dag("twice", header="")},
        {"dags/twice.py": ("duplicate-dag-id", 4, "defined twice in this file")},
        ("2.7.2",),
        refused=False,
    ),
    "ignored": Case(
        {
            "dags/.airflowignore": "venv/\ntest\n*_draft.py\n",
            "dags/latest.py": dag("latest"),
            "dags/orders_draft.py": dag("draft"),
        },
        {
            "dags/latest.py": ("ignored-file", 2, "'test'"),
            "dags/orders_draft.py": None,
            "dags/.airflowignore": ("ignore-pattern", 3, "no regular expression"),
        },
        ("2.7.2",),
    ),
    "ignored-3": Case(
        {
            "dags/.airflowignore": "# all\n*.py\n!kept.py\n",
            "dags/other.py": dag("other", header=THREE),
            "dags/kept.py": dag("kept", header=THREE),
        },
        {"dags/other.py": ("ignored-file", 2, "'*.py'"), "dags/kept.py": None},
        ("3.3.2",),
    ),
    "linked-folder": Case(
        {"lib/bad.py": "import surely_not_there\n" + dag("bad"), "lib/good.py": dag("good"), "dags/x.py": dag("x")},
        {"dags/shared/bad.py": ("missing-package", 1, "surely-not-there"), "dags/shared/good.py": None},
        ("2.7.2",),
        links={"dags/shared": "../lib"},
        refused=True,
    ),
    "own-prefix": Case(
        {
            "dags/helpers/__init__.py": "",
            "dags/helpers/dates.py": "",
            "dags/common/lib/formats.py": "",
            "dags/a.py": "from dags.helpers.dates import monday\n" + dag("a"),
            "dags/b.py": "from formats import fmt\n" + dag("b"),
        },
        {
            "dags/a.py": ("missing-module", 1, "itself is on the path: import helpers.dates"),
            "dags/b.py": ("missing-module", 1, "It lies in dags/common/lib/: import common.lib.formats"),
        },
        ("2.7.2",),
        refused=True,
    ),
    "newer-python": Case(
        {"dags/new.py": "type Row = dict[str, int]\n" + dag("new")},
        {"dags/new.py": ("syntax-error", 1, "this is syntax of Python 3.12")},
        ("2.7.2",),
        refused=True,
    ),
    "guarded-3": Case(
        {
            "dags/compat.py": "from typing import TYPE_CHECKING\nfrom airflow import __version__\n"
            "try:\n    from airflow.sdk import TaskGroup\nexcept ImportError:\n"
            "    from airflow.utils.task_group import TaskGroup\n"
            "if __version__.startswith('2.'):\n    from airflow.operators.bash import BashOperator\n"
            "if TYPE_CHECKING:\n    from airflow.models.baseoperator import BaseOperator\n"
            + dag("compat", header=THREE)
        },
        {"dags/compat.py": None},
        ("3.3.2",),
        refused=False,
    ),
    "moved-3": Case(
        {
            "dags/dates.py": "from airflow.utils.dates import days_ago\n" + dag("dates", header=THREE),
            "dags/dummy.py": "from airflow.operators.dummy_operator import DummyOperator\n" + dag("d", header=THREE),
            "dags/interval.py": dag("interval", "schedule_interval=None", header=THREE),
            "dags/subdag.py": "from airflow.operators.subdag import SubDagOperator\n" + dag("s", header=THREE),
            "dags/defaults.py": "from airflow.utils.decorators import apply_defaults\n" + dag("y", header=THREE),
        },
        {
            "dags/dates.py": ("import-error", 1, "pendulum.today('UTC').add(days=-N)"),
            "dags/dummy.py": (
                "missing-module",
                1,
                "from airflow.providers.standard.operators.empty import EmptyOperator",
            ),
            "dags/interval.py": ("invalid-arguments", 4, "calls it schedule"),
            "dags/subdag.py": ("missing-module", 1, "use TaskGroup of airflow.sdk"),
            "dags/defaults.py": ("import-error", 1, "apply_defaults is gone: delete it"),
        },
        ("3.3.2",),
        refused=True,
    ),
    "provider-of-a-namespace": Case(
        {
            "dags/azure.py": "from airflow.providers.microsoft.azure.hooks.wasb import WasbHook\n" + TWO,
            "dags/beam.py": "from airflow.providers.apache.beam.operators.beam import X\n" + TWO,
            "dags/s3.py": "from airflow.providers.amazon.aws.operators.s3 import S3ListOperator\n" + TWO,
            "dags/ours.py": "from operators.load import LoadOperator\n" + TWO,
            "dags/misspelt.py": "from airflow.providers.gogle.cloud.hooks.gcs import GCSHook\n" + TWO,
        },
        {
            "dags/azure.py": ("missing-package", 1, "requirements.txt: apache-airflow-providers-microsoft-azure"),
            "dags/beam.py": ("missing-package", 1, "requirements.txt: apache-airflow-providers-apache-beam"),
            "dags/s3.py": ("missing-package", 1, "apache-airflow-providers-amazon   (the image apache/airflow has it"),
            "dags/ours.py": ("missing-module", 1, 'set sync.folders = ["operators"] in devenv.toml'),
            "dags/misspelt.py": ("missing-module", 1, "did you mean airflow.providers.google?"),
        },
    ),
    "renamed-in-the-provider-3": Case(
        {"dags/pod.py": "from airflow.providers.cncf.kubernetes.operators.kubernetes_pod import X\n" + THREE},
        {"dags/pod.py": ("missing-module", 1, "kubernetes.operators.pod import KubernetesPodOperator")},
        ("3.3.2",),
    ),
    "varying-3": Case(
        {"dags/moving.py": THREE + 'with DAG("moving", start_date=datetime.now(), schedule="@daily"):\n' + ONLY},
        {"dags/moving.py": ("varying-value", 4, "each parse makes a new version")},
        ("3.3.2",),
        options={"dag_processor": {"dag_version_inflation_check_level": "error"}},
        refused=True,
    ),
    "silenced": Case(
        {
            "dags/a.py": dag("a")
            + "import socket\nsocket.getaddrinfo('localhost', 80)  # devenv: ignore[top-level-io]\n",
            "dags/b.py": dag("b")
            + "import socket\nsocket.getaddrinfo('localhost', 80)  # devenv: ignore[no-dag-found]\n",
            "dags/c.py": "import surely_not_there  # devenv: ignore\n" + dag("c"),
        },
        {
            "dags/a.py": None,
            "dags/b.py": ("top-level-io", 7, "asks"),
            "dags/c.py": ("missing-package", 1, "surely-not-there"),
        },
        ("2.7.2",),
    ),
}
PAIRS = [(name, release) for name, case in CASES.items() for release in case.releases]

PROCESSOR = {
    "2": """
import json, os, sys
from airflow.dag_processing.processor import DagFileProcessor
from airflow.models.errors import ImportError
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.file import list_py_file_paths
from airflow import settings
import logging
logging.disable(logging.CRITICAL)
dags = sys.argv[1]
settings.engine.dispose()
died = False
for file in sorted(list_py_file_paths(dags)):
    pid = os.fork()
    if pid == 0:
        try:
            DagFileProcessor(dag_ids=None, dag_directory=dags, log=logging.getLogger("x")).process_file(file, [])
        except BaseException:
            os._exit(1)
        os._exit(0)
    died = died or os.waitpid(pid, 0)[1] != 0
session = settings.Session()
wrong = [one.filename for one in session.query(ImportError)]
stored = [one.fileloc for one in session.query(SerializedDagModel)]
missing = [file for file in list_py_file_paths(dags) if file not in stored and b"with DAG" in open(file, "rb").read()]
print("refused:", json.dumps(bool(died or wrong or missing)))
""",
    "3": """
import json, os, sys
from pathlib import Path
from airflow.dag_processing.processor import DagFileParseRequest, _parse_file
import structlog
refused = False
for file in sorted(Path(sys.argv[1]).rglob("*.py")):
    request = DagFileParseRequest(file=str(file), bundle_path=Path(sys.argv[1]), bundle_name="x")
    pid = os.fork()
    if pid == 0:
        from airflow.sdk.execution_time.supervisor import block_orm_access
        block_orm_access()
        result = _parse_file(request, structlog.get_logger())
        os._exit(1 if result.import_errors else 0)
    refused = refused or os.waitpid(pid, 0)[1] != 0
print("refused:", json.dumps(refused))
""",
}
"""What a release's own file processor does with each file of a folder, and whether it leaves one out."""


@pytest.fixture(scope="session")
def pythons() -> dict[str, Path]:
    from devenv.local.virtualenv import Installer

    environment = Environment(variables={**Environment().variables, "DEVENV_CACHE": str(cache_folder())})
    return {
        release: Installer(environment).airflow(release, Path("requirements.txt"), print)
        for release in ("2.7.2", "3.3.2")
    }


def project_of(case: Case, folder: Path, release: str) -> Project:
    for name, text in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name, target in case.links.items():
        (folder / name).symlink_to(target)
    variables = {**Environment().variables, "DEVENV_CACHE": str(cache_folder())}
    settings = Settings(airflow=AirflowSettings(version=release, config=case.options), check=CheckSettings())
    return Project(folder, settings, Environment(variables=variables, cwd=folder))


def words(problem: Problem) -> str:
    return f"{problem.message}\n{problem.hint}"


@pytest.mark.parametrize(("name", "release"), PAIRS)
def test_the_verdict(name: str, release: str, pythons: dict[str, Path], tmp_path: Path) -> None:
    case = CASES[name]
    project = project_of(case, tmp_path, release)
    found: dict[str, Verdict] = {
        verdict.file: verdict
        for verdict in check(project, [], python=pythons[release], safe_mode=None, report=lambda _event: None)
    }
    for file, expected in case.expected.items():
        problems = found[file].problems if file in found else ()
        if expected is None:
            assert [problem for problem in problems if problem.severity != "info"] == []
            continue
        rule, line, text = expected
        (problem,) = [problem for problem in problems if problem.rule == rule]
        assert (problem.line, text in words(problem)) == (line, True), words(problem)


@pytest.mark.parametrize(("name", "release"), [pair for pair in PAIRS if CASES[pair[0]].refused is not None])
def test_the_file_processor_agrees(name: str, release: str, pythons: dict[str, Path], tmp_path: Path) -> None:
    case = CASES[name]
    folder = tmp_path / "project"
    project_of(case, folder, release)
    home = tmp_path / "home"
    home.mkdir()
    python = pythons[release]
    variables = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        **{
            f"AIRFLOW__{section.upper()}__{key.upper()}": value
            for section, options in case.options.items()
            for key, value in options.items()
        },
    }
    template = cache_folder() / f"processor-{release}.db"
    if release.startswith("2"):
        if not template.exists():
            subprocess.run([python, "-m", "airflow", "db", "migrate"], env=variables, check=True, capture_output=True)
            template.write_bytes((home / "airflow.db").read_bytes())
        (home / "airflow.db").write_bytes(template.read_bytes())
    done = subprocess.run(
        [python, "-W", "ignore", "-c", PROCESSOR[release[0]], str(folder / "dags")],
        env=variables,
        check=True,
        capture_output=True,
        text=True,
        cwd=home,
    )
    (answer,) = [line for line in done.stdout.splitlines() if line.startswith("refused: ")]
    assert json.loads(answer.removeprefix("refused: ")) is case.refused
