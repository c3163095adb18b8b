"""The page about the terminal names tests and pictures that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_each_of_the_twenty_points_is_shown_by_something_that_exists() -> None:
    page = (ROOT / "docs" / "terminal.md").read_text()
    rows = re.findall(r"^\| (\d+) \|.*\|(.*)\|$", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 21))
    for number, shown_by in rows:
        tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown_by)
        files = re.findall(r"\]\(([\w/.-]+)\)", shown_by)
        assert tests or files, number
        for file, name in tests:
            assert f"def {name}(" in (ROOT / file).read_text(), f"{number}: {file}::{name}"
        for file in files:
            assert (ROOT / "docs" / file).exists(), f"{number}: {file}"
