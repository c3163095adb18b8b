"""The record of what a virtual environment has."""

from __future__ import annotations

from pathlib import Path

from devenv.local import installed
from devenv.local.installed import Installed


def test_the_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = Installed("3.0.6", "until 2025-08-30T15:56:11Z", "", {"pydantic": "2.11.7"})
    installed.write(tmp_path, record)
    assert installed.read(tmp_path) == record


def test_what_is_no_record_is_none(tmp_path: Path) -> None:
    assert installed.read(tmp_path) is None
    (tmp_path / ".devenv-installed.json").write_text('{"release": "3.0.6"}')
    assert installed.read(tmp_path) is None
