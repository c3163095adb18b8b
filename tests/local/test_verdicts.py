"""The agent's verdicts on the corpus, beside what the release's own DagBag and serialiser say of the same files.

A case names what is expected of it in its first lines: `# expect: RULE …`, or `# expect 2:` and `# expect 3:` where the
releases differ; `nothing` stands for none. Info is not listed.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from devenv import process
from devenv.agent_program import agent_command
from devenv.environment import Environment
from devenv.settings.schema import CheckSettings
from devenv.sync.targets.agent import AgentOptions, AgentTarget, Owner
from devenv.sync.targets.child import ChildDuplex
from devenv.verdict import Verdict

from .conftest import cache_folder

pytestmark = [pytest.mark.local, pytest.mark.timeout(1200)]

CORPUS = Path(__file__).parents[1] / "corpus"
WITHOUT_HEADER = {"safe_mode_factory.py": {"no-dag-found"}}
SECONDS = 8

# What the scheduler's file processor does with one file, in a process of its own: DagBag, then serialising.
REFERENCE = """
import json, os, resource, signal, sys
folder, seconds = sys.argv[1], int(sys.argv[2])
from airflow import __version__, settings
from airflow.serialization import serialized_objects
settings.get_dagbag_import_timeout = lambda path: seconds
serializer = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
if __version__ >= "3":
    from pathlib import Path
    from airflow.dag_processing.dagbag import BundleDagBag
    def bag():
        return BundleDagBag(os.devnull, collect_dags=False, bundle_path=Path(folder), bundle_name="dags-folder")
else:
    from airflow.models.dagbag import DagBag
    def bag():
        return DagBag(os.devnull, include_examples=False, collect_dags=False)
def refused(path):
    found = bag()
    found.process_file(path, only_if_updated=False, safe_mode=True)
    if found.import_errors:
        return 1
    for one in found.dags.values():
        serializer.to_dict(one)
    return 0
answers = {}
for name in sorted(json.loads(sys.argv[3])):
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        original = signal.signal
        signal.signal = lambda number, handler: None if number == signal.SIGSEGV else original(number, handler)
        try:
            code = refused(os.path.join(folder, name))
        except BaseException:
            code = 1
        os._exit(100 + code)
    _, status = os.waitpid(pid, 0)
    answers[name] = status == 100 << 8
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
print(json.dumps(answers))
"""


def cases() -> dict[str, Path]:
    return {str(path.relative_to(CORPUS)): path for path in sorted(CORPUS.rglob("*.py"))}


def expected(name: str, release: str) -> set[str] | None:
    """The rules that a case names; None for a helper, of which nothing is expected."""
    if name in WITHOUT_HEADER:
        return WITHOUT_HEADER[name]
    head = CORPUS.joinpath(name).read_bytes()[:500].decode("utf-8", "replace")
    found = re.search(rf"# expect(?: {release[0]})?: (.+)", head)
    return set(found.group(1).split()) - {"nothing"} if found else None


# What a verdict says beside its rule: each pattern is found in its message, excerpt or hint.
TOLD = {
    "syntax_unclosed.py": ("never closed", r"x = \(1,"),
    "import_missing_package.py": ("requirements.txt: ",),
    "import_missing_provider.py": ("requirements.txt: apache-airflow-providers-",),
    "import_typo_helper.py": ("Did you mean helper",),
    "name_typo.py": ("Did you mean ",),
    "cycle.py": (" → .+ → ",),
    "variable_missing.py": ("secret/variables/region in Vault: devenv secrets set variable region",),
    "connection_missing.py": ("secret/connections/.+ in Vault: devenv secrets set connection ",),
    "slow_helper.py": (r"parsing takes \d+\.\d s", "time.sleep"),
    "slow_call.py": ("of it in ",),
    "network.py": ("127.0.0.1:9", "socket.create_connection"),
    "safe_mode_factory.py": ("in safe mode", "dag_discovery_safe_mode"),
    "taskflow_not_called.py": ("must be called",),
    "kubernetes_resources.py": ("kubernetes_resources", "executor_config=.+pod_override"),
    "legacy_executor_config.py": ("request_memory", "executor_config=.+pod_override"),
}


@dataclass
class Collector:
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def verdict(self, verdict: Verdict) -> None:
        with self.guard:
            self.verdicts[verdict.file] = verdict

    def lost(self, reason: str) -> None:
        raise AssertionError(reason)


@dataclass
class Parsed:
    """The corpus as the agent and the release itself see it."""

    release: str
    verdicts: dict[str, Verdict]
    reference: dict[str, bool]


def airflow_variables(home: Path, dags: Path) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@pytest.fixture(scope="module", params=["2.7.2", "3.3.2"])
def parsed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Parsed:
    from devenv.local.virtualenv import Installer

    release = request.param
    environment = Environment(variables={**Environment().variables, "DEVENV_CACHE": str(cache_folder())})
    python = Installer(environment).airflow(release, Path("requirements.txt"), print)
    folder = tmp_path_factory.mktemp("corpus")
    dags = folder / "dags"
    shutil.copytree(CORPUS, dags)
    variables = airflow_variables(folder / "home", dags)
    collector = Collector()
    options = AgentOptions(
        claim=None,
        airflow=str(folder),
        check=CheckSettings(parse_seconds=SECONDS, parse_memory=2048),
        linger=0.0,
    )
    target = AgentTarget(
        lambda: ChildDuplex(agent_command(str(python)), variables=variables),
        collector,
        Owner("corpus", "", "", ""),
        ["dags"],
        options,
    )
    try:
        target.parse()
    finally:
        target.close()
    names = json.dumps(list(cases()))
    answer = process.run([python, "-c", REFERENCE, dags, str(SECONDS), names], variables=variables, timeout=800)
    return Parsed(release, collector.verdicts, json.loads(answer.stdout.strip().splitlines()[-1]))


@pytest.mark.parametrize("name", cases())
def test_verdict(parsed: Parsed, name: str) -> None:
    verdict = parsed.verdicts[f"dags/{name}"]
    assert verdict.ok == parsed.reference[name], verdict.problems
    wanted = expected(name, parsed.release)
    if wanted is not None:
        rules = {problem.rule for problem in verdict.problems if problem.severity != "info"}
        # A busy machine makes any file slow.
        assert rules - ({"slow-top-level"} - wanted) == wanted, verdict.problems


@pytest.mark.parametrize("name", TOLD)
def test_what_is_told(parsed: Parsed, name: str) -> None:
    problem = next(problem for problem in parsed.verdicts[f"dags/{name}"].problems if problem.severity != "info")
    text = "\n".join((problem.message, *problem.excerpt, problem.hint))
    assert not [pattern for pattern in TOLD[name] if not re.search(pattern, text)], text
    assert problem.excerpt_line <= problem.line < problem.excerpt_line + len(problem.excerpt)


def test_a_syntax_error_has_its_column(parsed: Parsed) -> None:
    problem = parsed.verdicts["dags/syntax_unclosed.py"].problems[0]
    assert "(" in problem.excerpt[problem.line - problem.excerpt_line][problem.column - 1 :]


def test_corpus_is_large_enough() -> None:
    assert sum(expected(name, "2.7.2") is not None for name in cases()) >= 60


def test_an_ignored_file_is_named(parsed: Parsed) -> None:
    (problem,) = parsed.verdicts["dags/ignored_one.py"].problems
    assert (problem.rule, problem.severity, problem.file) == ("ignored-file", "info", "dags/.airflowignore")
