"""The programs of the database's init containers, as far as they go without a database."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from devenv.resources import platform_folder


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, ModuleType]:
    """Imported as in a pod: from their own folder, configured by the environment."""
    import importlib
    import sys

    names = ("metadata_database", "admin_user", "prepare_database")
    monkeypatch.syspath_prepend(str(platform_folder() / "base" / "programs"))
    monkeypatch.setenv("AIRFLOW_CONFIG", str(tmp_path / "airflow.cfg"))
    monkeypatch.setenv("DEVENV_SECRETS_FOLDER", str(tmp_path))
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", raising=False)
    loaded = {name: importlib.import_module(name) for name in names}
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    return loaded


def test_the_connection_comes_from_where_airflow_takes_it(
    programs: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = programs["metadata_database"]
    (tmp_path / "airflow.cfg").write_text("[core]\n", encoding="utf-8")
    with pytest.raises(database.NotReady, match=r"airflow\.cfg"):
        database.connection_url()
    # configparser doubles percent signs; a password with a slash has one.
    (tmp_path / "airflow.cfg").write_text(
        "[database]\nsql_alchemy_conn = postgresql+psycopg2://airflow:a%%2Fb@postgres/airflow\n", encoding="utf-8"
    )
    assert database.connection_url() == "postgresql+psycopg2://airflow:a%2Fb@postgres/airflow"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite:////tmp/airflow.db")
    assert not database.is_postgres(database.connection_url())


def test_releases_are_compared_as_numbers(programs: dict[str, ModuleType]) -> None:
    as_numbers = programs["metadata_database"].as_numbers
    assert as_numbers("2.10.1") > as_numbers("2.7.2")
    assert as_numbers("3.0.0") > as_numbers("2.11.0")
    assert programs["prepare_database"].has_user_table("2.11.0")
    assert not programs["prepare_database"].has_user_table("3.0.0")


def test_the_admin_comes_from_a_file_that_a_shell_could_source(programs: dict[str, ModuleType], tmp_path: Path) -> None:
    users = programs["admin_user"]
    assert users.admin_user() is None
    password = 'it\'s "100 %" = #x $HOME'
    lines = f"AIRFLOW_ADMIN_USER=admin\nAIRFLOW_ADMIN_PASSWORD={shlex.quote(password)}\n"
    (tmp_path / "admin.env").write_text(lines, encoding="utf-8")
    assert users.admin_user() == ("admin", password)


def test_only_the_owner_reads_the_passwords(programs: dict[str, ModuleType], tmp_path: Path) -> None:
    users = programs["admin_user"]
    path = tmp_path / "passwords.json"
    for password in ("first", "second"):
        users.write_passwords(path, users.AdminUser("admin", password))
    assert json.loads(path.read_text(encoding="utf-8")) == {"admin": "second"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["passwords.json"]
