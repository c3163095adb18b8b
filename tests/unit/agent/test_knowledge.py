"""What the agent knows without Airflow: dependencies, distributions, moved modules, places, the scheduler's texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.agent.database import _read_trace, _seconds
from devenv.agent.deprecated import deprecated_imports
from devenv.agent.graph import Graph
from devenv.agent.hints import distribution, missing_module
from devenv.agent.places import Places
from devenv.agent.problems import from_exception
from devenv.agent.providers import MODULES


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for root in ("dags", "plugins"):
        (tmp_path / root).mkdir()
    return Places({"dags": str(tmp_path / "dags"), "plugins": str(tmp_path / "plugins")})


def test_names_and_paths(places: Places, tmp_path: Path) -> None:
    assert places.name(str(tmp_path / "dags/a/b.py")) == "dags/a/b.py"
    assert places.name(str(tmp_path / "dagsa/b.py")) is None
    assert places.path("plugins/x.py") == str(tmp_path / "plugins/x.py")


def test_dependents(places: Places) -> None:
    graph = Graph(places)
    graph.learn("dags/a.py", {"files": ["dags/helper.py"], "folders": ["dags/config"], "looked_for": []})
    graph.learn("dags/b.py", {"files": [], "folders": [], "looked_for": ["utils.dates"]})
    assert graph.dependents("dags/helper.py") == {"dags/a.py"}
    assert graph.dependents("dags/config/new.yaml") == {"dags/a.py"}
    assert graph.dependents("plugins/utils/dates.py") == graph.dependents("dags/utils/__init__.py") == {"dags/b.py"}
    graph.learn("dags/a.py", {"files": [], "folders": [], "looked_for": []})
    assert not graph.dependents("dags/helper.py")
    graph.keep("dags/a.py", {"dags/helper.py"})
    assert graph.dependents("dags/helper.py") == {"dags/a.py"}
    graph.forget("dags/a.py")
    assert not graph.dependents("dags/helper.py")


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("airflow.providers.slack.hooks.slack", "apache-airflow-providers-slack"),
        ("airflow.providers.cncf.kubernetes.operators.pod", "apache-airflow-providers-cncf-kubernetes"),
        ("yaml", "PyYAML"),
        ("google.cloud.bigquery.table", "google-cloud-bigquery"),
        ("some_package.sub", "some-package"),
    ],
)
def test_distributions(module: str, expected: str) -> None:
    assert distribution(module) == expected


def test_deprecated_imports() -> None:
    source = (
        "import os\nfrom airflow.operators.bash_operator import BashOperator\nfrom airflow.operators.python import A\n"
    )
    found = {(old.module, old.line, old.now) for old in deprecated_imports(source, (2, 7, 2))}
    assert found == {("airflow.operators.bash_operator", 2, True), ("airflow.operators.python", 3, False)}
    assert all(old.now for old in deprecated_imports(source, (3, 3, 2)))
    assert not list(deprecated_imports("def f(:", (2, 7, 2)))


def test_an_exception_has_the_users_own_line(places: Places, tmp_path: Path) -> None:
    (tmp_path / "dags/helper.py").write_text("import json\n\ndef load():\n    return json.loads('{')\n")
    main = tmp_path / "dags/main.py"
    main.write_text("import helper\nhelper.load()\n")
    helper: dict[str, object] = {}
    exec(compile((tmp_path / "dags/helper.py").read_text(), str(tmp_path / "dags/helper.py"), "exec"), helper)
    try:
        helper["load"]()  # type: ignore[operator]
    except ValueError as error:
        found = from_exception(error, places, main="dags/main.py", missing=())
    assert (found["file"], found["line"], found["type"]) == ("dags/helper.py", 4, "JSONDecodeError")
    assert found["excerpt"] == ["", "def load():", "    return json.loads('{')"]
    assert found["excerpt_line"] == 2


def test_the_schedulers_text(places: Places, tmp_path: Path) -> None:
    trace = (
        "Traceback (most recent call last):\n"
        f'  File "{tmp_path}/dags/a.py", line 3, in <module>\n    import x\n'
        '  File "/usr/lib/python3/x.py", line 9, in <module>\n    y\n'
        "ModuleNotFoundError: No module named 'x'\n"
    )
    assert _read_trace(trace, places) == ("ModuleNotFoundError", "No module named 'x'", "dags/a.py", 3)
    assert _read_trace("", places) == ("", "it does not parse", "", 0)
    assert _seconds("1970-01-01 00:00:01.500000") == 1.5


def test_the_provider_of_a_module_is_the_one_that_has_it() -> None:
    for module, name in MODULES.items():
        assert distribution(f"airflow.providers.{module}.operators.x") == f"apache-airflow-providers-{name}"
    assert distribution("airflow.providers.amazon.aws.hooks.s3") == "apache-airflow-providers-amazon"
    assert distribution("airflow.providers.microsoft.azure.hooks") == "apache-airflow-providers-microsoft-azure"


@pytest.mark.parametrize(
    ("module", "hint"),
    [
        ("airflow.providers.slak.hooks", "did you mean airflow.providers.slack?"),
        ("airflow.providers.spark.operators", "did you mean airflow.providers.apache.spark?"),
        ("airflow.providers.microsoft.azur.hooks", "did you mean airflow.providers.microsoft.azure?"),
        ("airflow.providers.cncf", "only airflow.providers.cncf.kubernetes."),
        ("airflow.providers.fivetran.operators", "one of another maker has a name of its own"),
    ],
)
def test_a_provider_that_airflow_does_not_have(module: str, hint: str, tmp_path: Path) -> None:
    places = Places({"dags": str(tmp_path)})
    rule, _message, said = missing_module(module, "No module", places, "dags/a.py", (2, 7, 2))
    assert (rule, hint in said) == ("missing-module", True), said
