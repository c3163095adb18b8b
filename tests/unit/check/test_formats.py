from __future__ import annotations

import json

from devenv.check.formats import as_github, as_json, as_sarif
from devenv.verdict import Problem, Verdict

PROBLEM = Problem(
    "import-error", "error", "100% wrong,\nreally", type="ImportError", file="dags/h:1.py", line=3, column=2
)
VERDICTS = [Verdict("dags/a.py", problems=(PROBLEM,)), Verdict("dags/b.py", dag_ids=("b",))]


def test_github_commands_are_escaped() -> None:
    (line,) = as_github(VERDICTS, lambda file: "shop/" + file)
    assert line == (
        "::error file=shop/dags/h%3A1.py,title=import-error,line=3,col=2::ImportError: 100%25 wrong,%0Areally"
    )


def test_json() -> None:
    found = json.loads(as_json(VERDICTS))
    assert not found["ok"]
    assert [verdict["file"] for verdict in found["verdicts"]] == ["dags/a.py", "dags/b.py"]


def test_sarif() -> None:
    (run,) = json.loads(as_sarif(VERDICTS, str))["runs"]
    (result,) = run["results"]
    assert result["ruleId"] == run["tool"]["driver"]["rules"][0]["id"] == "import-error"
    place = result["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "dags/h%3A1.py"}, "region": {"startLine": 3, "startColumn": 2}}
