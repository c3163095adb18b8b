"""Secrets on a real minikube: Kubernetes auth, a Vault that comes back by itself, and values that are nowhere else."""

import base64
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
import pytest
import yaml

from devenv.backends.base import Backend
from devenv.backends.choose import choose
from devenv.cluster.connection import Cluster
from devenv.cluster.errors import ClusterError
from devenv.environment import Environment
from devenv.errors import DevenvError
from devenv.project import Project
from devenv.vault import layout, mirrored, programs, seeds, staleness
from devenv.vault.client import open_client
from devenv.vault.keeper import SeedKeeper
from devenv.vault.store import SecretStore
from tests.support.volume import running_profile

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

NAMESPACE = "secrets-test"
IMAGE = "apache/airflow:2.7.2"


@pytest.fixture(scope="module")
def profile() -> str:
    return running_profile()


def wait_for(look: Callable[[], Any], what: str, seconds: float = 300) -> Any:
    """The first true answer; errors of the platform count as not yet."""
    end = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < end:
        try:
            last = look()
            if last:
                return last
        except DevenvError as error:
            last = error
        time.sleep(0.3)
    raise AssertionError(f"{what}: {last}")


@dataclass
class Place:
    """A namespace with a Vault, as `minikube/base` has it."""

    project: Project
    cluster: Cluster
    profile: str
    address: str = ""

    @property
    def keeper(self) -> SeedKeeper:
        return SeedKeeper(self.project, self.cluster)

    def client(self) -> hvac.Client:
        return open_client(self.address, self.keeper.load().root_token)

    def store(self) -> SecretStore:
        return SecretStore(self.client(), "secret")

    def pods(self, component: str) -> list[dict[str, Any]]:
        return self.cluster.list("Pod", NAMESPACE, labels=f"app.kubernetes.io/component={component}")

    def logs(self, pod: str, container: str) -> str:
        return b"\n".join(self.cluster.logs(pod, NAMESPACE, container)).decode("utf-8", "replace")

    def seeded_by(self, pod_uid: str) -> bool:
        """Whether another Vault than the one in that pod runs and was seeded."""
        pods = [pod for pod in self.pods("vault") if not pod["metadata"].get("deletionTimestamp")]
        marker = self.store().read(programs.load("seed_vault").MARKER_PATH)
        return bool(marker and pods and pods[0]["metadata"]["uid"] != pod_uid)

    def run_pod(self, name: str, account: str, component: str, command: str) -> dict[str, Any]:
        """A task pod's shape: the init container, then a command; gives back the pod as it ended."""
        self.cluster.apply([pod_object(name, account, component, ["sh", "-c", command])])
        return self.ended(name)

    def ended(self, name: str) -> dict[str, Any]:
        def look() -> Any:
            pod = self.cluster.get("Pod", name, NAMESPACE)
            return pod if pod and pod["status"].get("phase") in ("Succeeded", "Failed") else None

        return dict(wait_for(look, f"pod {name} ends"))


def pod_spec(account: str, component: str, command: list[str]) -> dict[str, Any]:
    """What every Airflow pod of `minikube/base` has to do with secrets."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "serviceAccountName": account,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 50000, "runAsGroup": 0, "fsGroup": 0},
        "initContainers": [
            {
                "name": "secrets",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "command": ["dumb-init", "--", "python", "/devenv/programs/fetch_secrets.py"],
                "env": [
                    {"name": "VAULT_ADDR", "value": "http://vault:8200"},
                    {"name": "DEVENV_COMPONENT", "value": component},
                    {"name": "DEVENV_CONFIG_TEMPLATE", "value": "/devenv/programs/airflow.cfg"},
                ],
                "securityContext": security,
                "volumeMounts": [
                    {"name": "etc-airflow", "mountPath": "/etc/airflow"},
                    {"name": "programs", "mountPath": "/devenv/programs"},
                ],
            }
        ],
        "containers": [
            {
                "name": "base",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "command": command,
                "env": [{"name": "AIRFLOW_CONFIG", "value": "/etc/airflow/airflow.cfg"}],
                "securityContext": security,
                "volumeMounts": [{"name": "etc-airflow", "mountPath": "/etc/airflow"}],
            }
        ],
        "volumes": [
            {"name": "etc-airflow", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
            {"name": "programs", "configMap": {"name": "devenv-programs"}},
        ],
    }


def pod_object(name: str, account: str, component: str, command: list[str]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": component}
    spec = {**pod_spec(account, component, command), "restartPolicy": "Never"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": spec,
    }


def deployment(component: str) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": component}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": component, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": pod_spec(component, component, ["dumb-init", "--", "sleep", "infinity"]),
            },
        },
    }


def config_map(name: str, files: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": files,
    }


def platform_objects() -> list[dict[str, Any]]:
    """`vault.yaml` in our namespace, and what the pods need around it."""
    base = programs.folder().parent
    found: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": NAMESPACE}}
        for name in ("scheduler", "triggerer", "task", "postgres", "stranger")
    ]
    code = {name: (base / "programs" / name).read_text() for name in ("fetch_secrets.py", "seed_vault.py")}
    template = (
        "[core]\nfernet_key = ${FERNET_KEY}\n[secrets]\n"
        "backend = airflow.providers.hashicorp.secrets.vault.VaultBackend\n"
        "backend_kwargs = ${VAULT_BACKEND_ARGUMENTS}\n"
    )
    listing = (base / "programs" / "secrets.json").read_text()
    found.append(config_map("vault-programs", code))
    found.append(
        config_map("devenv-programs", {**code, "secrets.json": listing, "airflow.cfg": template}),
    )
    for item in yaml.safe_load_all((base / "vault.yaml").read_text()):
        if item["kind"] == "ClusterRoleBinding":
            item["metadata"]["name"] = f"vault-auth-delegator.{NAMESPACE}"
            item["subjects"][0]["namespace"] = NAMESPACE
        else:
            item["metadata"]["namespace"] = NAMESPACE
        if item["kind"] == "Service":
            del item["spec"]["ports"][0]["nodePort"]
        found.append(item)
    return found


@pytest.fixture(scope="module")
def place(profile: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    base = tmp_path_factory.mktemp("laptop")
    folder = base / "shop"
    (folder / "dags").mkdir(parents=True)
    (folder / "devenv.toml").write_text(
        f'backend = "kubernetes"\n[kubernetes]\ncontext = "{profile}"\nnamespace = "{NAMESPACE}"\n'
        f"[airflow]\nui_credentials_secret = true\nvariables_secret = true\n"
        f'[vault]\nseeds = "{base}/own-seeds.toml"\n'
    )
    own = base / "own-seeds.toml"
    own.touch(mode=0o600)
    own.write_text("")
    variables = {**os.environ, "DEVENV_DATA": str(base / "data"), "DEVENV_CACHE": str(base / "cache")}
    project = Project.find(folder, Environment(variables=variables))
    cluster = Cluster.open(profile, project.environment)
    cluster.delete("Namespace", NAMESPACE, wait_seconds=120)
    cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}])
    found = Place(project, cluster, profile)
    try:
        seeds_now = seeds.load_or_create(project)
        cluster.apply([seeds.seed_secret(project, seeds_now), *platform_objects()])
        service = cluster.get("Service", "vault", NAMESPACE)
        assert service is not None
        node = cluster.list("Node")[0]["status"]["addresses"][0]["address"]
        found.address = f"http://{node}:{service['spec']['ports'][0]['nodePort']}"
        wait_for(lambda: found.seeded_by(""), "Vault is seeded")
        cluster.apply([deployment("scheduler"), deployment("triggerer")])
        for component in ("scheduler", "triggerer"):
            wait_for(lambda component=component: running(found, component), f"{component} runs")
        yield found
    finally:
        cluster.delete("Namespace", NAMESPACE, wait_seconds=120)
        cluster.delete("ClusterRoleBinding", f"vault-auth-delegator.{NAMESPACE}")


def running(place: Place, component: str) -> list[dict[str, Any]]:
    return [pod for pod in place.pods(component) if pod["status"].get("phase") == "Running"]


def test_each_component_gets_its_own_files(place: Place) -> None:
    pod = place.run_pod("task-files", "task", "task", "stat -c '%a %U %n' /etc/airflow/*; stat -f -c %T /etc/airflow")
    assert pod["status"]["phase"] == "Succeeded"
    shown = place.logs("task-files", "base").splitlines()
    assert shown[:-1] == [
        f"400 airflow /etc/airflow/{name}"
        for name in ("airflow.cfg", "kyuubi.env", "pg.env", "revisions.json", "slack.env")
    ]
    assert shown[-1] == "tmpfs"
    pod = place.run_pod("postgres-files", "postgres", "postgres", "ls /etc/airflow")
    assert place.logs("postgres-files", "base").split() == ["airflow.cfg", "postgres-password", "revisions.json"]
    assert set(staleness.fetched_revisions(pod)) == {"postgres/airflow"}


def test_a_stranger_gets_nothing_and_the_pod_says_why(place: Place) -> None:
    pod = place.run_pod("stranger", "stranger", "task", "true")
    said = pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["message"]
    assert said == (
        "Vault's role 'task' does not admit this pod's service account: service account name not authorized. "
        "Next: devenv secrets seed"
    )


def test_a_token_that_is_not_genuine_is_refused_with_the_cause(place: Place, tmp_path: Path) -> None:
    """An expired one answers alike: the API server no longer knows it."""
    token = tmp_path / "token"
    token.write_text(kubectl(place, "create", "token", "task").strip())
    assert fetch_from_here(place, token, tmp_path / "good").returncode == 0
    token.write_text(token.read_text()[:-8] + "AAAAAAAA")
    refused = fetch_from_here(place, token, tmp_path / "bad")
    assert refused.stderr.splitlines()[-1] == (
        "Vault refused the login of this pod's service account for the role 'task': permission denied. "
        "The token has expired, or Vault may not review tokens. Next: devenv up"
    )


def fetch_from_here(place: Place, token: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    folder.mkdir()
    variables = {
        "VAULT_ADDR": place.address,
        "DEVENV_COMPONENT": "task",
        "DEVENV_VAULT_CREDENTIALS": str(token),
        "DEVENV_VAULT_PATIENCE": "0",
        "DEVENV_SECRETS_FOLDER": str(folder),
    }
    program = [sys.executable, str(programs.folder() / "fetch_secrets.py")]
    return subprocess.run(program, env=variables, capture_output=True, text=True, check=False)


def test_airflow_reads_a_connection_and_a_variable_that_were_set_just_now(place: Place, command: "Command") -> None:
    command("set", "connection", "shop_db", stdin="postgresql://ada:pw@db.example/shop")
    command("set", "variable", "region", stdin="eu-west\n")
    pod = place.run_pod(
        "reads-live",
        "task",
        "task",
        "python -c 'from airflow.models import Variable; from airflow.hooks.base import BaseHook;"
        'print(Variable.get("region"), BaseHook.get_connection("shop_db").host)\'',
    )
    assert pod["status"]["phase"] == "Succeeded", place.logs("reads-live", "base")
    assert place.logs("reads-live", "base").splitlines()[-1] == "eu-west db.example"
    mirror = place.cluster.get("Secret", mirrored.VARIABLES, NAMESPACE)
    assert mirror is not None
    assert base64.b64decode(mirror["data"]["AIRFLOW_VAR_REGION"]) == b"eu-west"


@pytest.mark.parametrize("how", ["delete", "kill", "seal"])
def test_a_vault_that_died_comes_back_with_everything(place: Place, how: str) -> None:
    """No devenv runs here: what restores it is the pod itself."""
    place.store().write("scratch/forgotten", {"KEY": "not in the seeds"})
    (pod,) = [pod for pod in place.pods("vault") if not pod["metadata"].get("deletionTimestamp")]
    name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
    if how == "delete":
        place.cluster.delete("Pod", name, NAMESPACE)
    else:
        uid = ""
        if how == "kill":
            kubectl(place, "exec", name, "-c", "vault", "--", "sh", "-c", "kill -TERM 1")
        else:
            place.client().sys.seal()
    wait_for(
        lambda: place.seeded_by(uid) and place.store().read("scratch/forgotten") is None, "another Vault is seeded"
    )
    assert place.store().read(layout.CORE) == {
        "FERNET_KEY": place.keeper.load().generated["fernet_key"],
        "WEBSERVER_SECRET_KEY": place.keeper.load().generated["webserver_secret_key"],
        "JWT_SECRET": place.keeper.load().generated["jwt_secret"],
    }
    assert place.run_pod(f"after-{how}", "task", "task", "true")["status"]["phase"] == "Succeeded"


def test_a_changed_secret_restarts_the_pods_that_use_it_and_survives_vault(place: Place, command: "Command") -> None:
    before = {component: running(place, component)[0]["metadata"]["uid"] for component in ("scheduler", "triggerer")}
    command("set", "airflow/admin", "AIRFLOW_ADMIN_PASSWORD", "--no-restart", stdin="changed-password")
    stale = staleness.stale_pods(place.cluster.list("Pod", NAMESPACE), place.store())
    assert [(pod.component, pod.paths) for pod in stale] == [("scheduler", ("airflow/admin",))]

    said = command("seed")
    assert "restarting with the new value: scheduler" in said
    wait_for(
        lambda: (
            not staleness.stale_pods(running(place, "scheduler"), place.store())
            and [pod["metadata"]["uid"] for pod in running(place, "scheduler")] != [before["scheduler"]]
        ),
        "a new scheduler pod runs with it",
    )
    assert running(place, "triggerer")[0]["metadata"]["uid"] == before["triggerer"]
    mirror = place.cluster.get("Secret", mirrored.UI_CREDENTIALS, NAMESPACE)
    assert mirror is not None
    assert base64.b64decode(mirror["data"]["password"]) == b"changed-password"

    (pod,) = [pod for pod in place.pods("vault") if not pod["metadata"].get("deletionTimestamp")]
    place.cluster.delete("Pod", pod["metadata"]["name"], NAMESPACE)
    wait_for(lambda: place.seeded_by(pod["metadata"]["uid"]), "Vault is back")
    assert (place.store().read("airflow/admin") or {})["AIRFLOW_ADMIN_PASSWORD"] == "changed-password"


def test_what_was_put_into_vault_by_hand_is_told_and_can_be_kept(place: Place, command: "Command") -> None:
    """apache/airflow#55015, hashicorp/docker-vault#242"""
    place.store().write("variables/by_hand", {"value": "eu"})
    (line,) = [line for line in command("list").splitlines() if "variables/by_hand" in line]
    assert "Vault only" in line
    assert "variables/by_hand" in command("keep")
    assert "Vault only" not in command("list")
    (pod,) = place.pods("vault")
    place.cluster.delete("Pod", pod["metadata"]["name"], NAMESPACE)
    wait_for(lambda: place.seeded_by(pod["metadata"]["uid"]), "another Vault is seeded")
    assert place.store().read("variables/by_hand") == {"value": "eu"}


def test_the_generated_keys_survive_a_laptop_that_lost_its_files(place: Place) -> None:
    before = place.keeper.load()
    shutil.rmtree(place.project.data_folder)
    after = place.keeper.load()
    assert after.generated == before.generated
    assert after.kept == before.kept
    assert after.kept, "something was set before"


def test_a_secret_that_somebody_else_made_is_read_and_left_alone(place: Place, command: "Command") -> None:
    place.cluster.delete("Secret", mirrored.UI_CREDENTIALS, NAMESPACE)
    foreign = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": mirrored.UI_CREDENTIALS, "namespace": NAMESPACE},
        "data": {"admin-password": base64.b64encode(b"theirs").decode()},
    }
    place.cluster.apply([foreign])
    command("seed", "--no-restart")
    live = place.cluster.get("Secret", mirrored.UI_CREDENTIALS, NAMESPACE)
    assert live is not None
    assert live["data"] == foreign["data"]
    assert (place.store().read("airflow/admin") or {})["AIRFLOW_ADMIN_PASSWORD"] == "theirs"
    place.cluster.delete("Secret", mirrored.UI_CREDENTIALS, NAMESPACE)


def test_the_namespace_of_the_mirrored_secrets_is_made(place: Place, command: "Command") -> None:
    tools = f"{NAMESPACE}-tools"
    place.cluster.delete("Namespace", tools, wait_seconds=120)
    settings = place.project.folder / "devenv.toml"
    before = settings.read_text()
    settings.write_text(before.replace("[airflow]\n", f'[airflow]\nsecrets_namespace = "{tools}"\n'))
    try:
        said = command("set", "variable", "region", stdin="us-east")
        assert f"Secret {mirrored.VARIABLES} in namespace {tools} is in step" in said
        mirror = place.cluster.get("Secret", mirrored.VARIABLES, tools)
        assert mirror is not None
        assert base64.b64decode(mirror["data"]["AIRFLOW_VAR_REGION"]) == b"us-east"
        assert place.cluster.get("Secret", mirrored.UI_CREDENTIALS, tools) is not None
    finally:
        settings.write_text(before)
        place.cluster.delete("Namespace", tools, wait_seconds=120)


Command = Callable[..., str]


@pytest.fixture
def command(place: Place, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`devenv secrets …` in this process; gives back all that it wrote."""
    import io

    from devenv.__main__ import main
    from devenv.environment import Session

    def backend_from(project: Project) -> Backend:
        """The backend, with the Vault of these tests: the platform itself is not up in them."""
        found = choose(project, None, lambda _event: None)
        monkeypatch.setattr(found, "vault", place.client)
        return found

    monkeypatch.setattr("devenv.cli.secrets_desk.backend_from", backend_from)

    def run(*arguments: str, stdin: str = "", output: str = "text") -> str:
        wait_for(lambda: place.seeded_by(""), "Vault, which the test before may have ended, is seeded")
        out = io.StringIO()
        environment = Environment(
            stdin=io.StringIO(stdin),
            stdout=out,
            stderr=out,
            variables=place.project.environment.variables,
            cwd=place.project.folder,
        )
        code = main(["secrets", *arguments, "-o", output], Session(environment))
        assert code == 0, out.getvalue()
        return out.getvalue()

    return run


def forms(value: str) -> list[bytes]:
    """A value as it is, and in base64 at each of the three alignments (the ends, which depend on neighbours, cut)."""
    raw = value.encode()
    found = [raw]
    for padding in (b"", b"x", b"xx"):
        encoded = base64.b64encode(padding + raw)
        found.append(encoded[4 if padding else 0 : -4])
    return found


def test_a_canary_is_found_nowhere_else(place: Place, command: Command) -> None:
    """Values set through every door, looked for in everything that can be read."""
    doors = ("connection", "variable", "path", "import", "file", "command")
    canary = {door: f"canary-{door}-{os.urandom(9).hex()}" for door in doors}
    own = Path(place.project.settings.vault.seeds or "")
    own.write_text(f'[secrets."kyuubi/database"]\nKYUUBI_PASSWORD = "{canary["file"]}"\n')
    outputs = [
        command("set", "connection", "canary", stdin=f"http://me:{canary['connection']}@host"),
        command("set", "variable", "canary", stdin=canary["variable"], output="json"),
        command("set", "slack/webhook", "SLACK_WEBHOOK_URL", stdin=f"https://hooks/{canary['path']}"),
    ]
    imported = own.with_name("import.env")
    imported.write_text(f"AIRFLOW_VAR_IMPORTED={canary['import']}\n")
    outputs.append(command("import", str(imported), output="json"))
    printer = own.with_name("print-secret")
    printer.write_text(f"#!/bin/sh\necho {canary['command']}\n")
    printer.chmod(0o700)
    outputs.append(command("set", "kyuubi/database", "KYUUBI_USER", "--command", str(printer)))
    outputs.append(command("seed"))
    for arguments in (("list",), ("get", "connection", "canary"), ("get", "slack/webhook"), ("export",)):
        outputs += [command(*arguments), command(*arguments, output="json")]
    wait_for(lambda: not staleness.stale_pods(running(place, "scheduler"), place.store()), "the scheduler has them")
    wait_for(lambda: not staleness.stale_pods(running(place, "triggerer"), place.store()), "the triggerer has them")
    printer.unlink()
    imported.unlink()

    (scheduler,) = running(place, "scheduler")
    held = kubectl(place, "exec", scheduler["metadata"]["name"], "--", "sh", "-c", "cat /etc/airflow/*")
    assert canary["path"] in held
    assert canary["file"] in held
    assert canary["command"] in held

    generated = place.keeper.load().generated
    hidden = {**canary, **{name: generated[name] for name in ("fernet_key", "postgres_password", "jwt_secret")}}
    places = {
        "what commands print": "\n".join(outputs).encode(),
        "argv on the node": node_files(place, "cmdline"),
        "environments on the node": node_files(place, "environ"),
        "objects": kubectl(
            place, "get", "pods,deployments,replicasets,configmaps,services,events,serviceaccounts", "-o", "json"
        ).encode(),
        "logs": all_logs(place).encode(),
        "the project's folder": files_below(place.project.folder),
        "the cache, with crash reports": files_below(own.parent / "cache"),
    }
    for where, content in places.items():
        assert content or "cache" in where, f"{where}: there is nothing to look at"
        leaked = [name for name, value in hidden.items() for form in forms(value) if form in content]
        assert not leaked, f"{where} hold {leaked}"
    assert generated["root_token"].encode() not in places["logs"]
    assert generated["root_token"].encode() not in places["argv on the node"]
    assert generated["root_token"].encode() not in places["objects"]

    secrets = place.cluster.list("Secret")
    holders = {
        (secret["metadata"]["namespace"], secret["metadata"]["name"])
        for secret in secrets
        for data in (secret.get("data") or {}).values()
        for value in canary.values()
        if value.encode() in base64.b64decode(data)
    }
    assert holders == {(NAMESPACE, seeds.SECRET_NAME), (NAMESPACE, mirrored.VARIABLES)}
    laptop = [path for path in own.parent.rglob("*") if path.is_file() and "cache" not in path.parts]
    with_secrets = {path for path in laptop if any(value.encode() in path.read_bytes() for value in hidden.values())}
    kept = seeds.kept_file(place.project)
    assert with_secrets == {own, kept, seeds.before_file(kept)}
    assert all(path.stat().st_mode & 0o077 == 0 for path in with_secrets)
    assert all(path.stat().st_mode & 0o077 == 0 for path in with_secrets)


def kubectl(place: Place, *arguments: str) -> str:
    command = ["kubectl", "--context", place.profile, "--namespace", NAMESPACE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def node_files(place: Place, name: str) -> bytes:
    """`/proc/*/NAME` of every process in the node, which includes every container's."""
    script = f"cat /proc/[0-9]*/{name} 2>/dev/null | tr '\\0' '\\n'"
    done = subprocess.run(
        ["minikube", "ssh", "--profile", place.profile, "--", f'sudo sh -c "{script}"'],
        capture_output=True,
        check=False,
    )
    return done.stdout


def all_logs(place: Place) -> str:
    """Of every container that ever started, those before a restart included."""
    found = []
    for pod in place.cluster.list("Pod", NAMESPACE):
        status = pod["status"]
        for container in (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or []):
            for previous in (True, False):
                with contextlib.suppress(ClusterError):  # it did not start, or not twice
                    lines = place.cluster.logs(pod["metadata"]["name"], NAMESPACE, container["name"], previous=previous)
                    found += [line.decode("utf-8", "replace") for line in lines]
    return "\n".join(found)


def files_below(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
