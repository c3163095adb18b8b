"""What the package index says of releases, asked through uv; and what is made of it."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from devenv.environment import Environment
from devenv.project import Project
from devenv.published import ReleaseMissing, is_full, newest, packages_until

pytestmark = [pytest.mark.local, pytest.mark.timeout(120)]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    variables = {
        **Environment().variables,
        "DEVENV_CACHE": str(tmp_path / "cache"),
        "DEVENV_DATA": str(tmp_path / "data"),
    }
    return Environment(variables=variables, cwd=tmp_path)


def unreachable(environment: Environment) -> Environment:
    offline = {"UV_OFFLINE": "1", "UV_NO_CACHE": "1"}
    return Environment(variables={**environment.variables, **offline}, cwd=environment.cwd)


def test_a_series_is_its_newest_release(environment: Environment) -> None:
    assert newest("2.7", environment) == "2.7.3"
    assert newest("2.10", environment).startswith("2.10.")
    for asked in ("3", "latest"):
        found = newest(asked, environment)
        assert is_full(found)
        assert int(found.split(".")[0]) >= 3


def test_packages_are_those_of_the_day_after_the_release(environment: Environment) -> None:
    moment = packages_until("2.7.2", environment)
    assert moment is not None
    assert datetime(2023, 10, 12, tzinfo=timezone.utc) < moment < datetime(2023, 10, 18, tzinfo=timezone.utc)
    assert packages_until("2.7.2", unreachable(environment)) == moment  # it was remembered


def test_a_release_that_does_not_exist_is_refused_with_the_nearest(environment: Environment) -> None:
    with pytest.raises(ReleaseMissing, match=r"no Airflow 2\.7\.99; the newest 2\.7 is 2\.7\.3") as missing:
        packages_until("2.7.99", environment)
    assert missing.value.hint == "devenv up --airflow-version 2.7.3"
    with pytest.raises(ReleaseMissing, match=r"no Airflow 3\.99\.0; the newest release is"):
        packages_until("3.99.0", environment)


def test_an_index_that_cannot_be_asked_is_no_refusal(environment: Environment) -> None:
    assert packages_until("2.8.4", unreachable(environment)) is None
    with pytest.raises(ReleaseMissing, match=r"names no release of Airflow 2\.9"):
        newest("2.9", unreachable(environment))


def test_a_project_keeps_the_release_that_was_taken_first(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "devenv.toml").write_text('[airflow]\nversion = "2.7"\n')
    first = Project.find(None, environment)
    assert first.settings.airflow.version == "2.7.3"
    assert [one.value for one in first.found] == ["2.7.3"]
    assert Project.find(None, unreachable(environment)).settings.airflow.version == "2.7.3"
    with pytest.raises(ReleaseMissing):
        Project.find(None, unreachable(environment), {"airflow.version": "2.9"})
