"""One suite on every Vault: OpenBao, which the local backend installs, and the Vault of the cluster's image."""

import json
import lzma
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hvac
import hvac.exceptions
import pytest

from devenv import process
from devenv.environment import Environment
from devenv.project import Project
from devenv.settings.schema import SecretFile, Settings, VaultSettings
from devenv.vault import layout, local, programs, seeds, server
from devenv.vault.client import open_client
from devenv.vault.errors import VaultDenied, VaultSealed, VaultUnreachable
from devenv.vault.store import SecretStore

pytestmark = pytest.mark.local

CLUSTER_VAULT = Path(__file__).resolve().parents[2].parent / "shared" / "cluster" / "bin" / "vault.xz"
TEMPLATE = """\
[core]
fernet_key = ${FERNET_KEY}
[database]
sql_alchemy_conn = ${SQL_ALCHEMY_CONN}
[secrets]
backend_kwargs = ${VAULT_BACKEND_ARGUMENTS}
[api]
left = ${AIRFLOW_HOME}
"""


@pytest.fixture(scope="module", params=["openbao", "cluster"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "openbao":
        return server.find_program(Environment(variables={**os.environ, "PATH": "/nonexistent"}))
    if not CLUSTER_VAULT.exists():
        pytest.skip(f"{CLUSTER_VAULT} is not there")
    unpacked = tmp_path_factory.mktemp("vault") / "vault"
    with lzma.open(CLUSTER_VAULT) as packed, unpacked.open("wb") as file:
        shutil.copyfileobj(packed, file)
    unpacked.chmod(0o755)
    return unpacked


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    project: Project
    program: Path
    port: int
    log: Path
    child: "subprocess.Popen[bytes]"
    seeder: local.LocalSeeder

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def seeds(self) -> seeds.Seeds:
        return seeds.load_or_create(self.project)

    def client(self) -> hvac.Client:
        return open_client(self.address, self.seeds.root_token)

    def store(self) -> SecretStore:
        return SecretStore(self.client(), "team")

    def kill(self) -> None:
        self.child.kill()
        process.stop(self.child)

    def start(self) -> None:
        self.child = server.start_server(
            self.project.environment,
            port=self.port,
            root_token=self.seeds.root_token,
            log=self.log,
            program=self.program,
        )

    def fetch(
        self, folder: Path, component: str = "scheduler", interpreter: str = sys.executable, **more: str
    ) -> "subprocess.CompletedProcess[str]":
        """fetch_secrets.py as a process, with the login that `local.fetch` left."""
        login = self.project.folder / "etc" / "vault" / component
        folder.mkdir(exist_ok=True)
        return subprocess.run(
            [interpreter, str(programs.folder() / "fetch_secrets.py")],
            env={
                "VAULT_ADDR": self.address,
                "DEVENV_COMPONENT": component,
                "DEVENV_VAULT_AUTH": "approle",
                "DEVENV_VAULT_CREDENTIALS": str(login),
                "DEVENV_VAULT_PATIENCE": "0",
                "DEVENV_SECRETS_LIST": str(self.project.folder / "etc" / "airflow" / "secrets.json"),
                "DEVENV_SECRETS_FOLDER": str(folder),
                "PYTHONDONTWRITEBYTECODE": "1",
                **more,
            },
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def vault(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A seeded Vault with a mount of another name, and one secret of the project's own."""
    base = tmp_path_factory.mktemp("project")
    warehouse = SecretFile(path="warehouse/reader", file="warehouse.env", keys=("WAREHOUSE_TOKEN",))
    settings = Settings(vault=VaultSettings(mount="team", secrets={"warehouse": warehouse}))
    environment = Environment(variables={**os.environ, "DEVENV_DATA": str(base / "data")}, home=base)
    (base / "project").mkdir()
    project = Project(base / "project", settings, environment)
    first = seeds.load_or_create(project)
    seeds.save(project, first.with_values("warehouse/reader", {"WAREHOUSE_TOKEN": "it's %(odd)s $HOME\nsecond line"}))
    running = Running(
        project,
        program,
        free_port(),
        base / "vault.log",
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
    )
    running.seeder = local.LocalSeeder(project, running.address, lambda: {"POSTGRES_HOST": "127.0.0.1"})
    running.start()
    try:
        running.seeder.seed()
        fetched(running, base / "project" / "etc" / "airflow")
        yield running
    finally:
        process.stop(running.child)


def fetched(running: Running, folder: Path) -> dict[str, str]:
    template = running.project.folder / "airflow.cfg.template"
    template.write_text(TEMPLATE)
    return local.fetch(
        running.project, component="scheduler", address=running.address, folder=folder, template=template
    )


def test_the_files_of_a_component_are_written_for_their_owner_alone(vault: Running) -> None:
    folder = vault.project.folder / "etc" / "airflow"
    revisions = fetched(vault, folder)
    names = {"pg.env", "kyuubi.env", "slack.env", "warehouse.env", "admin.env", "airflow.cfg"}
    assert names <= {path.name for path in folder.iterdir()}
    assert all(stat.S_IMODE((folder / name).stat().st_mode) == 0o400 for name in names)
    assert set(revisions) == {
        "postgres/airflow",
        "airflow/core",
        "airflow/admin",
        "kyuubi/database",
        "slack/webhook",
        "warehouse/reader",
    }
    sourced = subprocess.run(
        ["sh", "-c", f'. {folder}/warehouse.env; . {folder}/kyuubi.env; printf %s "$WAREHOUSE_TOKEN|$KYUUBI_JDBC_URL"'],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert sourced == "it's %(odd)s $HOME\nsecond line|jdbc:hive2://kyuubi:10009/default"


def test_airflow_cfg_is_rendered_and_its_vault_arguments_log_in(vault: Running) -> None:
    from configparser import ConfigParser

    fetched(vault, vault.project.folder / "etc" / "airflow")
    parser = ConfigParser()
    parser.read(vault.project.folder / "etc" / "airflow" / "airflow.cfg")
    password = vault.seeds.generated["postgres_password"]
    assert parser["database"]["sql_alchemy_conn"] == f"postgresql+psycopg2://airflow:{password}@127.0.0.1:5432/airflow"
    assert parser["core"]["fernet_key"] == vault.seeds.generated["fernet_key"]
    assert parser["api"]["left"] == "${AIRFLOW_HOME}"
    arguments = json.loads(parser["secrets"]["backend_kwargs"])
    assert (arguments["auth_type"], arguments["mount_point"]) == ("approle", "team")

    vault.store().write("connections/postgres_default", {layout.CONNECTION_KEY: "postgresql://db/shop"})
    airflow = hvac.Client(url=arguments["url"])
    airflow.auth.approle.login(arguments["role_id"], arguments["secret_id"])
    assert airflow.is_authenticated()
    kv = airflow.secrets.kv.v2
    read = kv.read_secret_version("connections/postgres_default", mount_point="team", raise_on_deleted_version=True)
    assert read["data"]["data"] == {"conn_uri": "postgresql://db/shop"}
    with pytest.raises(hvac.exceptions.Forbidden):
        kv.create_or_update_secret("connections/other", secret={"conn_uri": "x"}, mount_point="team")
    with pytest.raises(hvac.exceptions.Forbidden):
        kv.list_secrets("", mount_point="team")


def test_a_role_reads_its_own_paths_only(vault: Running, tmp_path: Path) -> None:
    login = vault.seeds.login("postgres")
    client = hvac.Client(url=vault.address)
    client.auth.approle.login(login["role_id"], login["secret_id"])
    kv = client.secrets.kv.v2
    assert kv.read_secret_version("postgres/airflow", mount_point="team", raise_on_deleted_version=True)
    for path in ("airflow/core", "kyuubi/database", "connections/postgres_default", "devenv/seeded"):
        with pytest.raises(hvac.exceptions.Forbidden):
            kv.read_secret_version(path, mount_point="team", raise_on_deleted_version=True)


def test_seeding_again_writes_nothing_and_a_removed_secret_goes(vault: Running) -> None:
    assert vault.seeder.seed() == 0
    before = vault.seeds
    seeds.save(vault.project, before.with_values("gone/soon", {"KEY": "value"}))
    assert vault.seeder.seed() == 1
    assert vault.store().read("gone/soon") == {"KEY": "value"}
    seeds.save(vault.project, before)
    assert vault.seeder.seed() == 1
    assert vault.store().read("gone/soon") is None
    assert "devenv/seeded" not in vault.store().paths()


def test_the_log_and_the_command_line_do_not_hold_the_root_token(vault: Running) -> None:
    token = vault.seeds.root_token
    assert token not in vault.log.read_text()
    assert stat.S_IMODE(vault.log.stat().st_mode) == 0o600
    command = Path(f"/proc/{vault.child.pid}/cmdline")
    if command.exists():
        assert token.encode() not in command.read_bytes()
    assert not (vault.project.environment.home / ".vault-token").exists()


def test_missing_paths_and_keys_are_named(vault: Running, tmp_path: Path) -> None:
    store = vault.store()
    store.write("warehouse/reader", {"OTHER": "x"})
    lacking = vault.fetch(tmp_path / "a")
    assert lacking.returncode == 1
    assert lacking.stderr.splitlines()[-1] == (
        "team/warehouse/reader in Vault lacks WAREHOUSE_TOKEN. "
        "Next: devenv secrets set warehouse/reader WAREHOUSE_TOKEN"
    )
    store.remove("warehouse/reader")
    missing = vault.fetch(tmp_path / "b")
    assert missing.stderr.splitlines()[-1] == (
        "nothing is at the path team/warehouse/reader in Vault. Next: devenv secrets set warehouse/reader"
    )
    assert list((tmp_path / "b").iterdir()) == [], "nothing is written unless all is there"
    vault.client().secrets.kv.v2.delete_metadata_and_all_versions("devenv/seeded", mount_point="team")
    vault.seeder.seed()
    assert vault.fetch(tmp_path / "b").returncode == 0


def test_a_denying_policy_is_told_from_an_expired_login(vault: Running, tmp_path: Path) -> None:
    client = vault.client()
    client.sys.create_or_update_policy("devenv-scheduler", 'path "auth/token/lookup-self" { capabilities = ["read"] }')
    denied = vault.fetch(tmp_path / "a")
    assert "Vault's policy denies team/devenv/revision to this pod's role" in denied.stderr
    assert denied.stderr.rstrip().endswith("Next: devenv secrets seed")
    vault.seeder.seed()

    fetch_secrets = programs.load("fetch_secrets")
    session = fetch_secrets.Vault(vault.address)
    lasting = {"policies": ["devenv-scheduler"], "no_default_policy": True, "ttl": "2s", "explicit_max_ttl": "2s"}
    session.token = client.auth.token.create(**lasting)["auth"]["client_token"]
    assert fetch_secrets.read_secret(session, "team", "airflow/core")
    while hvac.Client(url=vault.address, token=session.token).is_authenticated():
        time.sleep(0.2)
    with pytest.raises(fetch_secrets.Fault, match=r"the login to Vault has expired before airflow/core was read"):
        fetch_secrets.read_secret(session, "team", "airflow/core")
    session.close()


def test_a_wrong_login_is_refused_with_its_cause(vault: Running, tmp_path: Path) -> None:
    login = tmp_path / "login"
    login.mkdir()
    (login / "role-id").write_text("devenv-scheduler")
    (login / "secret-id").write_text("wrong")
    refused = vault.fetch(tmp_path / "files", DEVENV_VAULT_CREDENTIALS=str(login))
    assert "Vault refused the AppRole login of 'scheduler' (invalid role or secret ID)" in refused.stderr
    absent = vault.fetch(tmp_path / "files", DEVENV_VAULT_CREDENTIALS=str(tmp_path / "absent"))
    assert f"cannot read {tmp_path}/absent/role-id to log in to Vault: No such file" in absent.stderr
    with pytest.raises(VaultDenied, match="does not accept this environment's token"):
        SecretStore(open_client(vault.address, "wrong"), "team").paths()


def test_a_sealed_vault_and_a_stopped_one_are_named(vault: Running, tmp_path: Path) -> None:
    vault.client().sys.seal()
    sealed = vault.fetch(tmp_path / "files")
    assert f"Vault at {vault.address} is sealed" in sealed.stderr
    with pytest.raises(VaultSealed):
        vault.store().paths()
    vault.kill()
    stopped = vault.fetch(tmp_path / "files")
    assert f"Vault does not answer at {vault.address}" in stopped.stderr
    assert stopped.stderr.rstrip().endswith("Next: devenv status")
    with pytest.raises(VaultUnreachable) as caught:
        vault.store().paths()
    assert caught.value.hint == "devenv up"
    vault.start()
    vault.seeder.seed()


def test_a_vault_that_forgot_everything_is_seeded_again_while_a_pod_waits(vault: Running, tmp_path: Path) -> None:
    ended = threading.Event()
    said: list[str] = []
    keeper = threading.Thread(target=vault.seeder.keep_seeded, args=(ended, said.append))
    vault.kill()
    waiting = subprocess.Popen(
        [sys.executable, str(programs.folder() / "fetch_secrets.py")],
        env={
            "VAULT_ADDR": vault.address,
            "DEVENV_COMPONENT": "scheduler",
            "DEVENV_VAULT_AUTH": "approle",
            "DEVENV_VAULT_CREDENTIALS": str(vault.project.folder / "etc" / "vault" / "scheduler"),
            "DEVENV_SECRETS_LIST": str(vault.project.folder / "etc" / "airflow" / "secrets.json"),
            "DEVENV_SECRETS_FOLDER": str(tmp_path),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert waiting.stderr is not None
        assert "Vault does not answer" in waiting.stderr.readline()
        vault.start()
        keeper.start()
        assert waiting.wait(30) == 0
        assert (tmp_path / "pg.env").exists()
        assert any(line.startswith("Vault was seeded") for line in said)
    finally:
        ended.set()
        process.stop(waiting)
        if keeper.ident:
            keeper.join(10)


def test_the_programs_run_on_the_python_of_the_published_images(vault: Running, tmp_path: Path) -> None:
    """Airflow 2.7's images have Python 3.8."""
    candidates = [shutil.which("python3.8"), *Path.home().glob(".pyenv/versions/3.8.*/bin/python3.8")]
    interpreter = next((str(each) for each in reversed(candidates) if each), None)
    if interpreter is None:
        pytest.skip("there is no Python 3.8")
    fetched = vault.fetch(tmp_path, interpreter=interpreter)
    assert fetched.returncode == 0, fetched.stderr
    loaded = subprocess.run(
        [
            interpreter,
            "-B",
            "-c",
            f"import sys; sys.path.insert(0, {str(programs.folder())!r}); import seed_vault",
        ],
        check=False,
    )
    assert loaded.returncode == 0
