"""A team starts at zero: what the baseline has is not reported again, what is new is."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.check.baseline import BaselineUnreadable, known, without_known, write
from devenv.verdict import Problem, Verdict

OLD = Problem("top-level-io", "warning", "asks a.example", file="dags/a.py", line=3)


def test_what_is_known_is_not_reported_again(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert known(path) == {}
    assert write(path, [Verdict("dags/a.py", problems=(OLD,))]) == 1
    moved = Problem("top-level-io", "warning", "asks a.example", file="dags/a.py", line=7)
    new = Problem("top-level-io", "warning", "asks b.example", file="dags/a.py", line=8)
    (verdict,) = without_known([Verdict("dags/a.py", problems=(moved, moved, new))], known(path))
    assert verdict.problems == (moved, new)  # once was known, not twice


@pytest.mark.parametrize("content", ["", "[]", '{"problems": [1]}', '{"problems": [{"file": "a"}]}', "\x00"])
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(content)
    with pytest.raises(BaselineUnreadable, match="no baseline"):
        known(path)
