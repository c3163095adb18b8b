"""Where values come from, who may read them, and what becomes of them when a file is lost."""

import base64
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devenv.environment import Environment
from devenv.project import Project
from devenv.settings.schema import SecretFile, Settings, VaultSettings
from devenv.vault import layout, platform_secrets, seeds
from devenv.vault.editor import SecretEditor
from devenv.vault.errors import SeedCommandFailed, SeedsInvalid, SeedsUnsafe
from devenv.vault.keeper import SeedKeeper


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make(tmp_path)


def make(base: Path, **vault: object) -> Project:
    folder = base / "shop"
    folder.mkdir(exist_ok=True)
    environment = Environment(variables={"DEVENV_DATA": str(base / "data")}, home=base / "home")
    return Project(folder, Settings(vault=VaultSettings.model_validate(vault)), environment)


def own_file(base: Path, text: str, *, mode: int = 0o600, name: str = "seeds.toml") -> Path:
    path = base / name
    path.write_text(text)
    path.chmod(mode)
    return path


def test_generated_keys_are_kept_for_their_owner_alone(project: Project) -> None:
    first = seeds.load_or_create(project)
    assert seeds.load_or_create(project) == first
    assert seeds.kept_file(project).stat().st_mode & 0o777 == 0o600
    assert seeds.kept_file(project).parent.stat().st_mode & 0o777 == 0o700
    assert len(base64.urlsafe_b64decode(first.generated["fernet_key"])) == 32
    assert len(set(first.generated.values())) == len(first.generated)
    assert first.generated["root_token"] not in repr(first)


def test_a_lost_laptop_file_is_made_again_from_the_cluster(project: Project) -> None:
    first = seeds.load_or_create(project).with_values("kyuubi/database", {"KYUUBI_PASSWORD": "mine"})
    first = first.with_values("variables/region", {"value": "eu"})
    seeds.save(project, first)
    secret = seeds.seed_secret(project, first)
    seeds.kept_file(project).unlink()
    again = seeds.load_or_create(project, secret)
    assert again.generated == first.generated
    assert again.kept == {"kyuubi/database": {"KYUUBI_PASSWORD": "mine"}, "variables/region": {"value": "eu"}}


def test_the_cluster_rules_over_generated_keys_and_the_laptop_over_given_values(project: Project) -> None:
    cluster = seeds.load_or_create(project).with_values("variables/old", {"value": "removed since"})
    secret = seeds.seed_secret(project, cluster)
    seeds.kept_file(project).unlink()
    seeds.save(project, seeds.load_or_create(project).with_values("variables/new", {"value": "x"}))
    merged = seeds.load_or_create(project, secret)
    assert merged.generated == cluster.generated
    assert merged.kept == {"variables/new": {"value": "x"}}


def test_a_file_of_the_users_own_goes_over_what_devenv_keeps(tmp_path: Path) -> None:
    path = own_file(
        tmp_path,
        '[secrets."kyuubi/database"]\nKYUUBI_PASSWORD = {command = ["op", "read", "x"]}\nKYUUBI_PORT = 10010\n'
        '[connections]\nshop = "postgresql://db/shop"\n[variables]\nregion = "eu"\ndebug = true\n',
    )
    project = make(tmp_path, seeds=str(path))
    found = seeds.load_or_create(project).with_values("kyuubi/database", {"KYUUBI_PORT": "1", "KYUUBI_USER": "ada"})
    assert found.given() == {
        "kyuubi/database": {
            "KYUUBI_PASSWORD": seeds.Command(("op", "read", "x")),
            "KYUUBI_PORT": "10010",
            "KYUUBI_USER": "ada",
        },
        "connections/shop": {"conn_uri": "postgresql://db/shop"},
        "variables/region": {"value": "eu"},
        "variables/debug": {"value": "true"},
    }


def test_files_that_others_can_read_or_that_would_be_committed_are_refused(tmp_path: Path) -> None:
    readable = own_file(tmp_path, "", mode=0o640)
    with pytest.raises(SeedsUnsafe, match="mode 0640") as caught:
        seeds.load_or_create(make(tmp_path, seeds=str(readable)))
    assert caught.value.hint == f"chmod 600 {readable}"
    inside = own_file(tmp_path / "shop", "")
    with pytest.raises(SeedsUnsafe, match="lies in the project's folder"):
        seeds.load_or_create(make(tmp_path, seeds=str(inside)))
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    committed = own_file(tmp_path / "repository", "")
    with pytest.raises(SeedsUnsafe, match="lies in the repository"):
        seeds.load_or_create(make(tmp_path, seeds=str(committed)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[secrets]\nx = 1\n", "x must be a table"),
        ('[secrets."a/b"]\nK = {command = "op read"}\n', "a/b K must be text, or"),
        ('[secret]\nx = "1"\n', "unknown table 'secret'"),
        ("[secrets\n", "Cannot read"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = own_file(tmp_path, text)
    with pytest.raises(SeedsInvalid, match=message):
        seeds.load_or_create(make(tmp_path, seeds=str(path)))


def test_a_damaged_secret_in_the_cluster_is_named(project: Project) -> None:
    with pytest.raises(SeedsInvalid, match="vault-seed in the cluster is damaged"):
        seeds.load_or_create(project, {"data": {"seed.json": "bm8="}})


def test_the_secret_carries_who_owns_it_and_no_value_in_its_metadata(project: Project) -> None:
    found = seeds.load_or_create(project)
    secret = seeds.seed_secret(project, found)
    assert secret["metadata"]["labels"]["devenv.io/environment"] == project.identifier
    assert found.generated["postgres_password"] not in json.dumps(secret["metadata"])
    document = seeds.decode_secret(secret)
    assert document["auth"]["roles"]["task"] == {
        "bound_service_account_names": ["task"],
        "bound_service_account_namespaces": ["airflow"],
        "token_no_default_policy": True,
        "token_policies": ["devenv-task"],
        "token_ttl": 3600,
    }


def test_policies_are_made_from_the_list_that_pods_fetch_from(tmp_path: Path) -> None:
    settings = VaultSettings(
        mount="team", secrets={"warehouse": SecretFile(path="warehouse/reader", file="warehouse.env")}
    )
    listing = layout.secrets_list(settings)
    assert layout.policy(listing, "postgres").count("path ") == 3
    assert 'path "team/data/postgres/airflow"' in layout.policy(listing, "postgres")
    task = layout.policy(listing, "task")
    assert 'path "team/data/warehouse/reader"' in task
    assert 'path "team/data/connections/*"' in task
    assert "airflow/admin" not in task
    assert "create" not in task
    assert "list" not in task
    assert layout.readers(listing, "airflow/admin") == ["api-server", "scheduler", "webserver"]
    assert layout.readers(listing, "variables/region") == []


def test_steps_that_begin_at_once_generate_the_seeds_once(tmp_path: Path) -> None:
    """Postgres and Vault start side by side: each wants its password from seeds that are not there yet."""
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        project, together = make(tmp_path / str(number)), threading.Barrier(8)

        def load(project: Project = project, together: threading.Barrier = together) -> str:
            together.wait()
            return seeds.load_or_create(project).root_token

        with ThreadPoolExecutor(8) as pool:
            assert len({each.result() for each in [pool.submit(load) for _ in range(8)]}) == 1


def test_only_the_commands_of_the_path_that_is_asked_for_run(project: Project, tmp_path: Path) -> None:
    """A command that hangs or asks at `devenv status` would be one of another path than the admin's."""
    never = seeds.Command(("/nonexistent/op", "read"))
    known = seeds.Seeds(platform_secrets.generate(), {"kyuubi/database": {"KYUUBI_PASSWORD": never}})
    admin = seeds.secrets_at(project, known, layout.ADMIN)
    assert admin["AIRFLOW_ADMIN_PASSWORD"] == known.generated["admin_password"]
    with pytest.raises(SeedCommandFailed):
        seeds.secrets_at(project, known, "kyuubi/database")


def test_no_change_is_lost_where_many_make_one_at_once(project: Project) -> None:
    keeper = SeedKeeper(project)
    keeper.load()
    together = threading.Barrier(50)

    def change(number: int) -> None:
        editor = SecretEditor(project, keeper, None)  # all have read before any of them writes
        together.wait()
        editor.set(f"team/{number}", {"KEY": f"value {number}"})

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(change, range(50)))
    assert set(seeds.load_or_create(project).kept) == {f"team/{number}" for number in range(50)}


def test_what_a_newer_devenv_wrote_is_kept_and_so_is_the_version_before(project: Project) -> None:
    first = seeds.load_or_create(project)
    path = seeds.kept_file(project)
    path.write_text(json.dumps({**json.loads(path.read_text()), "rotation": {"days": 30}}))
    SecretEditor(project, SeedKeeper(project), None).set("team/shop", {"KEY": "1"})
    written = json.loads(path.read_text())
    assert (written["rotation"], written["generated"]) == ({"days": 30}, dict(first.generated))
    before = seeds.before_file(path)
    assert before.stat().st_mode & 0o777 == 0o600
    assert "team/shop" not in json.loads(before.read_text())["secrets"]


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\x00\xff\xfe binary",
        b'{"generated": {"fernet_key": "x"',
        b"[" * 100_000,
        b"[]",
        b'{"generated": []}',
        b'{"generated": {"root_token": 7}}',
        b'{"generated": {}, "secrets": ["x"]}',
        b'{"generated": {}, "secrets": {"a": {"K": {"command": "one word"}}}}',
    ],
)
def test_a_damaged_file_is_named_with_the_way_back_and_not_touched(project: Project, damage: bytes) -> None:
    SecretEditor(project, SeedKeeper(project), None).set("team/shop", {"KEY": "1"})
    path = seeds.kept_file(project)
    path.write_bytes(damage)
    with pytest.raises(SeedsInvalid, match=re.escape(str(path))):
        seeds.load_or_create(project)
    with pytest.raises(SeedsInvalid):
        SeedKeeper(project).load()
    assert path.read_bytes() == damage


def test_several_secrets_are_set_together_or_none_is(tmp_path: Path) -> None:
    own_file(tmp_path, '[secrets."team/fixed"]\nKEY = "1"\n')
    project = make(tmp_path, seeds=str(tmp_path / "seeds.toml"))
    editor = SecretEditor(project, SeedKeeper(project), None)
    with pytest.raises(SeedsInvalid, match="team/fixed KEY comes from"):
        editor.set_all({"team/new": {"KEY": "2"}, "team/fixed": {"KEY": "3"}})
    assert seeds.load_or_create(project).kept == {}
