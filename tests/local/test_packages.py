"""Airflow's packages and those of `requirements.txt`, resolved together by uv against the real index."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.environment import Environment
from devenv.local.errors import RequirementsConflict
from devenv.local.virtualenv import Installer

from .conftest import cache_folder

pytestmark = [pytest.mark.local, pytest.mark.timeout(1200)]


def test_a_conflict_names_what_airflow_and_what_the_project_requires(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("sqlalchemy==2.0.40\n")
    environment = Environment(variables={**Environment().variables, "DEVENV_CACHE": str(cache_folder())})
    with pytest.raises(RequirementsConflict) as raised:
        Installer(environment).airflow("2.7.2", requirements, lambda _line: None)
    assert raised.value.detail is not None
    assert "apache-airflow==2.7.2 depends on sqlalchemy" in raised.value.detail
    assert "sqlalchemy==2.0.40" in raised.value.detail
