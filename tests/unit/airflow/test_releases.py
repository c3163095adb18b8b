"""Facts per release."""

from __future__ import annotations

import pytest

from devenv.airflow.releases import Release


@pytest.mark.parametrize(
    ("version", "page", "parser", "rest", "users", "pythons"),
    [
        ("2.7.2", "webserver", "scheduler", "v1", "database", ("3.8", "3.11")),
        ("2.11.0", "webserver", "scheduler", "v1", "database", ("3.9", "3.12")),
        ("3.0.6", "api-server", "dag-processor", "v2", "file", ("3.9", "3.12")),
        ("3.3.2", "api-server", "dag-processor", "v2", "file", ("3.10", "3.14")),
        ("3.4.0b2", "api-server", "dag-processor", "v2", "file", ("3.11", "3.14")),
        ("3.9.0", "api-server", "dag-processor", "v2", "file", ("3.11", "3.14")),
    ],
)
def test_what_a_release_is_made_of(
    version: str, page: str, parser: str, rest: str, users: str, pythons: tuple[str, str]
) -> None:
    release = Release(version)
    assert (release.page, release.parser, release.rest_version, release.users) == (page, parser, rest, users)
    assert (release.python_versions[0], release.python_versions[-1]) == pythons
    assert {page, parser} < set(release.components)


def test_options_come_and_go() -> None:
    assert "dag_dir_list_interval" in Release("2.11.0").options()["scheduler"]
    assert "dag_dir_list_interval" not in Release("3.0.0").options()["scheduler"]
    assert "refresh_interval" in Release("3.0.0").options()["dag_processor"]
    assert "ssl_ciphers" in Release("3.4.0").options()["api"]
    assert "ssl_ciphers" not in Release("3.3.2").options()["api"]
    assert Release("3.9.0").options() == Release("3.4.0").options()


def test_a_chain_of_renames_is_followed() -> None:
    assert Release("3.3.2").successors("scheduler", "max_threads") == (("dag_processor", "parsing_processes"),)
    assert Release("2.7.2").successors("scheduler", "max_threads") == (("scheduler", "parsing_processes"),)
