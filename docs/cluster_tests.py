"""Writes `docs/cluster-tests.md`: which tests on a real minikube passed, when, and at which commit.

python docs/cluster_tests.py COMMIT RESULTS...    RESULTS: what `pytest --junitxml` wrote, of one commit

A file's tests are listed anew; files that were not run keep what was said of them.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

PAGE = Path(__file__).resolve().parent / "cluster-tests.md"
HEAD = """\
# Tests on minikube

What `make test-cluster` runs on a real minikube: when each file was last run, at which commit, and what came of it.
Written by `docs/cluster_tests.py` from pytest's own results.

| tests | passed | not passed | left out | seconds | date | commit |
|---|---|---|---|---|---|---|
"""


@dataclass
class Row:
    """What came of one file's tests."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    date: str = ""

    def text(self, file: str, commit: str) -> str:
        """The line of the table."""
        counts = f"{self.passed} | {self.failed or ''} | {self.skipped or ''} | {self.seconds:.0f}"
        return f"| `{file}` | {counts} | {self.date} | `{commit}` |"


def read(results: list[Path]) -> dict[str, Row]:
    """File, relative to the checkout → what came of it."""
    rows: dict[str, Row] = defaultdict(Row)
    for path in results:
        for suite in ElementTree.parse(path).getroot().iter("testsuite"):
            for case in suite.iter("testcase"):
                # "tests.cluster.test_ha", with the class's name after it where there is one
                module = re.match(r"(?:\w+\.)*?test_\w+", case.get("classname", ""))
                row = rows[module[0].replace(".", "/") + ".py" if module else case.get("classname", "")]
                row.date = suite.get("timestamp", "")[:10]
                row.seconds += float(case.get("time", 0))
                outcomes = {child.tag for child in case}
                row.skipped += "skipped" in outcomes
                row.failed += bool(outcomes & {"failure", "error"})
                row.passed += not outcomes & {"failure", "error", "skipped"}
    return rows


def main(commit: str, results: list[Path]) -> None:
    """Writes the page."""
    known = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    lines = {match[1]: line for line in known if (match := re.match(r"\| `(tests/[^`]+)`", line))}
    lines |= {file: row.text(file, commit) for file, row in read(results).items()}
    PAGE.write_text(HEAD + "".join(f"{lines[file]}\n" for file in sorted(lines)), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], [Path(name) for name in sys.argv[2:]])
