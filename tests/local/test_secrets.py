"""Secrets in a local environment from nothing: seeds in a file, a DAG that uses all, changes, no leaks."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from devenv.journal import JournalReader, journal_file
from tests.support.program import Program
from tests.support.receiver import Receiver, receiver
from tests.support.seeds import canaries, write_seeds

from .conftest import cache_folder, eventually

pytestmark = [pytest.mark.local, pytest.mark.timeout(600)]

DAGS = Path(__file__).parents[2] / "dags"


@dataclass
class Shop:
    """A project with seeds that was booted from nothing, and what must not be found elsewhere."""

    program: Program
    base: Path
    slack: Receiver
    canary: dict[str, str]
    printed: list[str]

    @property
    def files(self) -> Path:
        """Where the env files are."""
        return self.program.folder / ".devenv" / "etc" / "airflow"

    def run(self, *arguments: str, stdin: str = "") -> str:
        said = self.program.run(*arguments, stdin=stdin)
        self.printed.append(said)
        return said


@pytest.fixture(scope="module", params=["2.7.2", "3.3.2"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    base = tmp_path_factory.mktemp("secrets")
    folder = base / "shop"
    (folder / "dags").mkdir(parents=True)
    for name in ("secrets_example.py", "alerts.py", "env_files.py"):
        shutil.copy(DAGS / name, folder / "dags")
    (folder / "devenv.toml").write_text(
        f'backend = "local"\n[airflow]\nversion = "{request.param}"\n[vault]\nseeds = "{base}/seeds.toml"\n'
        "[ports]\nairflow = 28082\nvault = 28202\n"
    )
    canary = canaries()
    program = Program(
        (sys.executable, "-m", "devenv"),
        folder,
        {"DEVENV_DATA": str(base / "data"), "DEVENV_CACHE": str(cache_folder())},
    )
    with receiver() as slack:
        write_seeds(base / "seeds.toml", f"127.0.0.1:{slack.port}", canary)
        made = Shop(program, base, slack, canary, [])
        try:
            with program.watching("up") as watch:
                made.printed.append(str(watch.seen))
                yield made
        finally:
            program.run("destroy", "--yes", code=None)


def test_a_dag_uses_all_that_the_seeds_give_from_a_fresh_environment(shop: Shop) -> None:
    eventually(lambda: "secrets_example" in shop.run("dags"), 240)
    shop.run("run", "secrets_example", "--wait")
    assert shop.slack.texts[0].startswith("secrets_example.query_spark succeeded in manual__")
    length = len(shop.canary["connection"])
    assert f"postgres at db.example.com, a password of {length} characters" in shop.run(
        "logs", "secrets_example", "use_connection"
    )
    spark = shop.run("logs", "secrets_example", "query_spark")
    assert "jdbc:hive2://kyuubi:10009/default as airflow, a password of " in spark
    assert "the sales of ***" in spark  # what came from the seeds is not shown


def test_a_changed_secret_reaches_what_has_read_the_old_one(shop: Shop) -> None:
    shop.run("secrets", "set", "kyuubi/database", "KYUUBI_USER", stdin="ada")
    assert "KYUUBI_USER=ada" in (shop.files / "kyuubi.env").read_text()
    new = {
        name: os.urandom(16).hex() for name in ("AIRFLOW_ADMIN_PASSWORD", "WEBSERVER_SECRET_KEY", "POSTGRES_PASSWORD")
    }
    for path, (key, value) in zip(("airflow/admin", "airflow/core", "postgres/airflow"), new.items(), strict=True):
        shop.run("secrets", "set", path, key, "--no-restart", stdin=value)
    assert "Airflow runs with an old secret: airflow/admin, airflow/core, postgres/airflow" in shop.run("status")
    shop.run("secrets", "seed")
    assert new["POSTGRES_PASSWORD"] in (shop.files / "airflow.cfg").read_text()
    assert "old secret" not in shop.run("status")
    assert "secrets_example" in shop.run("dags")  # logs in with the new password
    sent = len(shop.slack.texts)
    shop.run("run", "secrets_example", "--wait")
    assert len(shop.slack.texts) == sent + 1
    assert "default as ada," in shop.run("logs", "secrets_example", "query_spark")


def test_an_import_brings_pools_too(shop: Shop) -> None:
    settings = shop.base / "airflow_settings.yaml"
    settings.write_text(
        "airflow:\n"
        "  variables: [{variable_name: imported, variable_value: yes}]\n"
        "  pools: [{pool_name: small, pool_slot: 3, pool_description: few at once}]\n"
    )
    shop.run("secrets", "import", str(settings))
    assert "small" in shop.run("airflow", "pools", "list")
    assert shop.run("secrets", "get", "variable", "imported", "--reveal") == "true\n"


def test_nothing_is_found_elsewhere(shop: Shop) -> None:
    shop.run("secrets", "get", "slack/webhook")
    shop.run("secrets", "export", "-o", "json")
    shop.run("status", "-o", "json")
    processes = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        processes.append("\0".join(process.info["cmdline"] or ()))
        processes += (process.info["environ"] or {}).values()
    places = {"what commands print": shop.printed, "command lines and environments": processes}
    for where, texts in places.items():
        assert texts
        assert not held(shop, "\n".join(texts).encode()), where
    folders = [shop.base, Path("/var/lib/devenv") / shop.files.parents[2].name]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    with_secrets = {path for path in files if held(shop, path.read_bytes())}
    assert with_secrets == {shop.base / "seeds.toml", shop.files / "kyuubi.env", shop.files / "slack.env"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in with_secrets)


def held(shop: Shop, content: bytes) -> list[str]:
    """The canaries in some bytes, as they are or in base64 at any alignment."""
    found = []
    for name, value in shop.canary.items():
        raw = value.encode()
        forms = [raw, *(base64.b64encode(b"x" * lead + raw)[4:-4] for lead in range(3))]
        found += [name for form in forms if form in content]
    return found


def vault_of(shop: Shop) -> dict[str, str]:
    """VAULT_ADDR and VAULT_TOKEN of the environment."""
    exports = shop.program.run("env", "--reveal")  # not among what was printed: it is asked to reveal
    return dict(re.findall(r"export (VAULT_\w+)=[\"']?([^\"'\n]+)", exports))


def ask_vault(shop: Shop, path: str, content: dict[str, object]) -> dict[str, Any]:
    """A request that writes, as Vault's own page and program send it."""
    variables = vault_of(shop)
    request = urllib.request.Request(
        f"{variables['VAULT_ADDR']}/v1/{path}",
        json.dumps(content).encode(),
        {"X-Vault-Token": variables["VAULT_TOKEN"]},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        return json.loads(answer.read() or "{}")


def put_by_hand(shop: Shop, path: str, values: dict[str, str]) -> None:
    """As in Vault's own page."""
    ask_vault(shop, f"secret/data/{path}", {"data": values})


def test_what_was_put_into_vault_by_hand_is_told_and_can_be_kept(shop: Shop) -> None:
    put_by_hand(shop, "variables/by_hand", {"value": "eu"})
    put_by_hand(shop, "variables/other_key", {"region": "eu"})
    listed = shop.run("secrets", "list")
    (line,) = [line for line in listed.splitlines() if "variables/by_hand" in line]
    assert "Vault only" in line
    kept = shop.run("secrets", "keep")
    assert "variables/by_hand  value" in kept
    assert "Vault only" not in shop.run("secrets", "list")
    (port,) = [int(word) for word in re.findall(r"VAULT_ADDR=\S*:(\d+)", shop.program.run("env"))]
    (vault,) = {
        connection.pid
        for connection in psutil.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    psutil.Process(vault).kill()  # it is started again, and filled from the seeds
    eventually(lambda: not psutil.pid_exists(vault))
    eventually(lambda: "eu" in shop.program.run("secrets", "get", "variable", "by_hand", "--reveal", code=None))


def test_a_variable_under_another_key_is_not_said_to_be_missing(shop: Shop) -> None:
    put_by_hand(shop, "variables/wrong_key", {"region": "eu"})
    text = "from airflow.models import Variable\nVariable.get('wrong_key')\n# airflow dag\n"
    path = shop.program.folder / "dags" / "wrong_key.py"
    path.write_text(text)

    def told() -> list[str]:
        lines = JournalReader(journal_file(shop.program.folder / ".devenv")).fresh()[1]
        verdicts = [line["data"] for line in lines if line["data"].get("file") == "dags/wrong_key.py"]
        return [one["message"] for verdict in verdicts if verdict["speaker"] == "agent" for one in verdict["problems"]]

    wanted = "secret/variables/wrong_key in Vault has no key 'value' (its keys: region)"
    eventually(lambda: wanted in told())
    path.unlink()


def test_a_connection_is_tested_from_where_tasks_run(shop: Shop) -> None:
    revealed = shop.program.run("secrets", "get", "postgres/airflow", "--reveal")
    own = dict(re.findall(r"(POSTGRES_\w+)=['\"]?([^'\"\n]*)", revealed))
    user, password, port = own["POSTGRES_USER"], own["POSTGRES_PASSWORD"], own["POSTGRES_PORT"]
    place = f"127.0.0.1:{port}/{own['POSTGRES_DB']}"
    shop.run("secrets", "set", "connection", "metadata", stdin=f"postgresql://{user}:{password}@{place}\n")
    assert "metadata (postgres) works: " in shop.run("secrets", "test", "connection", "metadata")
    shop.run("secrets", "set", "connection", "wrong", stdin=f"postgresql://{user}:guessed@{place}\n")
    (failed,) = [
        line for line in shop.program.json("secrets", "test", "connection", "wrong", code=1) if "code" in line.data
    ]
    assert failed.data["code"] == "DEVENV-612"
    assert "password authentication failed" in failed.data["message"]
    (unknown,) = shop.program.json("secrets", "test", "connection", "nobodys", code=2)
    assert unknown.data["hint"] == "devenv secrets set connection nobodys"
    for name in ("metadata", "wrong"):
        shop.run("secrets", "rm", "connection", name)


@pytest.fixture
def other(tmp_path: Path) -> Program:
    """Another project, which takes what it may from the shop's environment."""
    folder = tmp_path / "other"
    (folder / "dags").mkdir(parents=True)
    (folder / "devenv.toml").write_text(
        'backend = "local"\n[vault]\npull = ["connections/ware*", "variables/*", "team/*"]\n'
    )
    return Program((sys.executable, "-m", "devenv"), folder, {"DEVENV_DATA": str(tmp_path / "data")})


def pulled(program: Program, *arguments: str) -> dict[str, str]:
    """What happens to each path, by what the command said."""
    lines = program.json("secrets", "pull", *arguments)
    return {line.data["path"]: line.data["action"] for line in lines if line.type == "devenv.secret.pulled"}


def test_secrets_are_taken_from_a_deployed_vault_which_is_only_read(shop: Shop, other: Program) -> None:
    for path, values in {
        "prod/airflow/connections/warehouse": {"conn_uri": "postgresql://u:p@db/x"},
        "prod/airflow/connections/billing": {"conn_uri": "postgresql://u:p@db/y"},
        "prod/airflow/variables/region": {"value": "eu"},
        "prod/airflow/team/reader": {"USER": "ada", "TOKEN": "t"},
    }.items():
        put_by_hand(shop, path, values)
    rules = 'path "secret/*" { capabilities = ["read", "list"] }'
    ask_vault(shop, "sys/policies/acl/reader", {"policy": rules})
    token = ask_vault(shop, "auth/token/create", {"policies": ["reader"], "ttl": "10m"})["auth"]["client_token"]
    variables = {**other.variables, "VAULT_ADDR": vault_of(shop)["VAULT_ADDR"], "VAULT_TOKEN": token}
    program = Program(other.command, other.folder, variables)
    expected = {
        "connections/billing": "not allowed",
        "connections/warehouse": "new",
        "team/reader": "new",
        "variables/region": "new",
    }
    assert pulled(program, "vault:secret/prod/airflow", "--dry-run") == expected
    assert "region" not in program.run("secrets", "list")
    said = program.run("secrets", "pull", "vault:secret/prod/airflow", "--yes")
    assert "eu" not in said.split()
    assert program.run("secrets", "get", "connection", "warehouse", "--reveal").strip() == "postgresql://u:p@db/x"
    assert program.run("secrets", "get", "team/reader", "TOKEN", "--reveal").strip() == "t"
    assert pulled(program, "vault:secret/prod/airflow", "--yes") == {
        path: "same" if action == "new" else action for path, action in expected.items()
    }
    nothing = program.json("secrets", "pull", "vault:secret/nowhere", code=None)
    assert [line.data["code"] for line in nothing] == ["DEVENV-613"]
    stranger = Program(other.command, other.folder, {**variables, "VAULT_TOKEN": "wrong"})
    assert [line.data["code"] for line in stranger.json("secrets", "pull", "vault:secret/prod", code=None)] == [
        "DEVENV-613"
    ]


def test_connections_and_variables_are_taken_from_a_deployed_airflow(shop: Shop, other: Program) -> None:
    uri = "postgresql://reader:hidden-word@db.example.com:5432/shop"
    shop.program.run("airflow", "connections", "add", "warehouse_db", "--conn-uri", uri)
    shop.program.run("airflow", "variables", "set", "bucket", "s3://team")
    (status,) = [line for line in shop.program.json("status", "--reveal") if line.type == "devenv.status"]
    admin = dict(
        re.findall(
            r"(AIRFLOW_ADMIN_\w+)=['\"]?([^'\"\n]*)", shop.program.run("secrets", "get", "airflow/admin", "--reveal")
        )
    )
    variables = {
        **other.variables,
        "AIRFLOW_USER": admin["AIRFLOW_ADMIN_USER"],
        "AIRFLOW_PASSWORD": admin["AIRFLOW_ADMIN_PASSWORD"],
    }
    address = next(url for url in status.data["urls"].values() if "28082" in url)
    program = Program(other.command, other.folder, variables)
    found = pulled(program, address, "--yes")
    assert (found["connections/warehouse_db"], found["variables/bucket"]) == ("new, without its password", "new")
    revealed = program.run("secrets", "get", "connection", "warehouse_db", "--reveal").strip()
    assert revealed.startswith("postgres://reader@db.example.com:5432/shop")
    program.run("secrets", "set", "connection", "warehouse_db", stdin=f"{uri}\n")
    assert pulled(program, address, "--yes")["connections/warehouse_db"] == (
        "kept: the source does not give its password"
    )
    assert "hidden-word" in program.run("secrets", "get", "connection", "warehouse_db", "--reveal")
    stranger = Program(other.command, other.folder, {**variables, "AIRFLOW_PASSWORD": "wrong"})
    assert [line.data["code"] for line in stranger.json("secrets", "pull", address, code=None)] == ["DEVENV-613"]
