"""`devenv secrets` while nothing runs: values go to the seeds, and never to the screen unasked."""

import json
from typing import Any

import pytest

from devenv.errors import PlatformError
from tests.conftest import Devenv


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_project: object) -> Any:
        raise PlatformError("This environment was never started")

    monkeypatch.setattr("devenv.cli.secrets_desk.backend_from", refuse)


def test_a_value_is_set_from_standard_input_and_shown_only_when_asked(devenv: Devenv) -> None:
    done = devenv("secrets", "set", "variable", "region", stdin="eu-west\n")
    assert done.exit_code == 0
    assert "Vault is not running and loads it on the next `devenv up`" in done.stderr
    assert devenv("secrets", "get", "variable", "region").stdout == "********\n"
    assert devenv("secrets", "get", "variable", "region", "--reveal").stdout == "eu-west\n"
    masked = json.loads(devenv("secrets", "get", "variable", "region", "-o", "json").stdout.splitlines()[0])
    assert masked["data"] == {"path": "variables/region", "values": {"value": "********"}, "revealed": False}
    listed = devenv("secrets", "list").stdout
    assert "variables/region" in listed
    assert "eu-west" not in listed


def test_several_keys_come_as_lines(devenv: Devenv) -> None:
    lines = "WAREHOUSE_USER=ada\nWAREHOUSE_TOKEN='a b'\n"
    assert devenv("secrets", "set", "warehouse/reader", stdin=lines).exit_code == 0
    assert devenv("secrets", "get", "warehouse/reader", "--reveal").stdout == (
        "WAREHOUSE_TOKEN='a b'\nWAREHOUSE_USER=ada\n"
    )
    assert devenv("secrets", "rm", "warehouse/reader", "WAREHOUSE_USER").exit_code == 0
    assert devenv("secrets", "get", "warehouse/reader", "WAREHOUSE_TOKEN", "--reveal").stdout == "a b\n"


def test_what_was_exported_can_be_imported(devenv: Devenv) -> None:
    devenv("secrets", "set", "connection", "shop", stdin="postgresql://ada:pw@db/shop")
    devenv("secrets", "set", "kyuubi/database", "KYUUBI_PASSWORD", stdin="mine")
    assert "pw" not in devenv("secrets", "export").stdout
    exported = devenv("secrets", "export", "--reveal").stdout
    assert json.loads(exported) == {
        "connections": {"shop": "postgresql://ada:pw@db/shop"},
        "variables": {},
        "secrets": {"kyuubi/database": {"KYUUBI_PASSWORD": "mine"}},
    }
    (devenv.cwd.parent / "all.json").write_text(exported)
    devenv("secrets", "rm", "connection", "shop")
    assert devenv("secrets", "get", "connection", "shop").exit_code == 2
    assert devenv("secrets", "import", str(devenv.cwd.parent / "all.json")).exit_code == 0
    assert devenv("secrets", "get", "connection", "shop", "--reveal").stdout == "postgresql://ada:pw@db/shop\n"


def test_removing_what_the_platform_needs_brings_the_generated_value_back(devenv: Devenv) -> None:
    generated = devenv("secrets", "get", "kyuubi/database", "KYUUBI_PASSWORD", "--reveal").stdout
    devenv("secrets", "set", "kyuubi/database", "KYUUBI_PASSWORD", stdin="mine")
    devenv("secrets", "rm", "kyuubi/database", "KYUUBI_PASSWORD")
    assert devenv("secrets", "get", "kyuubi/database", "KYUUBI_PASSWORD", "--reveal").stdout == generated


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "said"),
    [
        (("set", "connection"), "x", 2, "Which connection?"),
        (("set", "connection", "shop"), "no-uri-secret", 2, "Connection shop must be a URI, or JSON"),
        (("set", "../etc"), "x", 2, "'../etc' is no path"),
        (("set", "variable", "region"), "\n", 2, "No value was given"),
        (("set", "airflow/core", "FERNET_KEY"), "secret-value", 5, "FERNET_KEY was generated and should not change"),
        (("get", "kyuubi/database", "NOPE"), "", 2, "kyuubi/database has no key NOPE"),
        (("set", "variable", "region", "secret-value"), "", 2, "unexpected extra argument"),
        (("seed",), "", 4, "There is no Vault to seed: This environment was never started"),
        (("import", "absent.env"), "", 2, "Cannot read absent.env: No such file or directory"),
    ],
)
def test_what_is_wrong_is_said_with_the_next_command(
    devenv: Devenv, arguments: tuple[str, ...], stdin: str, code: int, said: str
) -> None:
    done = devenv("secrets", *arguments, stdin=stdin)
    assert (done.exit_code, said in done.stderr) == (code, True), done.stderr
    assert "→" in done.stderr or "nothing was changed" in done.stderr
    assert "no-uri-secret" not in done.stderr
