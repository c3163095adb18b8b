"""The platform itself on a real cluster: what `kubectl apply -k` makes of the manifests, without any devenv running."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devenv.environment import Environment
from devenv.platform.overlay import write_overlay
from devenv.project import Project
from devenv.resources import platform_folder
from devenv.settings.schema import AirflowSettings, KubernetesSettings, Settings
from devenv.vault import seeds
from tests.support.volume import running_profile

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

NAMESPACE = "platform-test"
RBAC = Path(__file__).parents[2] / "docs" / "reference" / "rbac.md"
OF_AIRFLOW_3 = {"api-server", "dag-processor"}
WORKLOADS = ("deploy/vault", "sts/postgres", "deploy/scheduler", "deploy/webserver", "deploy/triggerer", "deploy/agent")


def settings(**config: dict[str, str | int | float | bool]) -> Settings:
    # The cluster may hold another environment, which has the ports of the node: no NodePort here.
    return Settings(
        backend="kubernetes",
        kubernetes=KubernetesSettings(namespace=NAMESPACE),
        airflow=AirflowSettings(config=config),
    )


@dataclass
class Platform:
    """kubectl on the namespace of the test."""

    context: str
    project: Project

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["kubectl", "--context", self.context, "-n", NAMESPACE, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stderr
        return done

    def apply(self, wanted: Settings) -> None:
        project = Project(self.project.folder, wanted, self.project.environment)
        overlay = write_overlay(project, airflow_image=wanted.airflow_image)
        self.kubectl("apply", "--server-side", "-k", str(overlay))

    def wait(self, *workloads: str) -> None:
        for workload in workloads:
            self.kubectl("rollout", "status", workload, "--timeout=300s")

    def python(self, component: str, program: str) -> str:
        arguments = ("exec", f"deploy/{component}", "-c", component, "--", "python", "-c", program)
        return self.kubectl(*arguments).stdout


@pytest.fixture(scope="module")
def context() -> str:
    return running_profile()


@pytest.fixture(scope="module")
def platform(context: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("platform")
    (folder / "shop").mkdir()
    environment = Environment(variables={**os.environ, "DEVENV_DATA": str(folder / "data")})
    project = Project(folder / "shop", settings(), environment)
    platform = Platform(context, project)
    secret = seeds.seed_secret(project, seeds.load_or_create(project))
    platform.kubectl("create", "namespace", NAMESPACE, check=False)
    try:
        platform.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(secret))
        platform.apply(project.settings)
        platform.wait(*WORKLOADS)
        yield platform
    finally:
        platform.kubectl("delete", "clusterrolebinding", f"vault-auth-delegator.{NAMESPACE}", check=False)
        platform.kubectl("delete", "namespace", NAMESPACE, "--wait=true", check=False)


def test_the_base_is_accepted_without_devenv(context: str) -> None:
    kubectl = ["kubectl", "--context", context]
    # A dry run of the namespace makes none, and the objects in it would be refused.
    made = subprocess.run([*kubectl, "create", "namespace", "airflow"], capture_output=True, check=False)
    try:
        base = platform_folder() / "base"
        command = [*kubectl, "apply", "-k", str(base), "--dry-run=server"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "provided port is already allocated" in done.stderr:
            pytest.skip("another environment on this cluster has the ports of the node")
        assert done.returncode == 0, done.stderr
        assert "deployment.apps/scheduler" in done.stdout
    finally:
        if made.returncode == 0:
            subprocess.run([*kubectl, "delete", "namespace", "airflow"], capture_output=True, check=False)


def documented() -> dict[str, dict[str, set[str]]]:
    """Service account → resource → verbs, from the table."""
    table: dict[str, dict[str, set[str]]] = {}
    for line in RBAC.read_text(encoding="utf-8").splitlines():
        row = re.match(r"\| `([\w-]+)` \| (?:`([\w./]+)`|-) \| ([\w ]+|-) \|", line)
        if row:
            rights = table.setdefault(row[1], {})
            if row[2]:
                rights.setdefault(row[2], set()).update(row[3].split())
    return table


def granted(platform: Platform, account: str) -> dict[str, set[str]]:
    """Resource → verbs, as the API server answers."""
    user = f"system:serviceaccount:{NAMESPACE}:{account}"
    listed = platform.kubectl("auth", "can-i", "--list", "--no-headers", f"--as={user}").stdout
    rights: dict[str, set[str]] = {}
    for line in listed.splitlines():
        resource, verbs = line.split()[0], re.search(r"\[([\w ]*)\]\s*$", line)
        if verbs and not resource.startswith("["):
            rights.setdefault(resource, set()).update(verbs[1].split())
    return rights


@pytest.mark.parametrize("account", sorted(set(documented()) - OF_AIRFLOW_3))
def test_accounts_have_just_the_rights_in_the_docs(platform: Platform, account: str) -> None:
    everybody = granted(platform, "default")
    own = {resource: verbs - everybody.get(resource, set()) for resource, verbs in granted(platform, account).items()}
    assert {resource: verbs for resource, verbs in own.items() if verbs} == documented()[account]


def test_the_agent_sees_what_the_scheduler_sees(platform: Platform) -> None:
    program = """
import json, os, pathlib, sys
variables = [pair for pair in sorted(os.environ.items()) if pair[0] != "HOSTNAME"]
config = pathlib.Path("/etc/airflow/airflow.cfg").read_text().replace('role": "COMPONENT"', "")
print(json.dumps([sys.version, variables, config]))
"""
    agent, scheduler = (platform.python(name, program.replace("COMPONENT", name)) for name in ("agent", "scheduler"))
    assert agent == scheduler
    write = "import pathlib; pathlib.Path('{}/seen.py').write_text('')"
    refused = platform.kubectl(
        *("exec", "deploy/agent", "-c", "agent", "--", "python", "-c", write.format("/opt/airflow/dags")), check=False
    )
    assert "Read-only file system" in refused.stderr
    platform.python("agent", write.format("/devenv/claim/dags"))
    assert "seen.py" in platform.python("scheduler", "import os; print(os.listdir('/opt/airflow/dags'))")


def test_an_older_release_is_refused_and_loses_nothing(platform: Platform) -> None:
    program = "import sys; sys.path.insert(0, '/devenv/programs'); from metadata_database import *; "
    connect = program + "connection = connect(connection_url()); "
    release = platform.python("scheduler", connect + "print(noted_release(connection))").strip()
    platform.python("scheduler", connect + "note_release(connection, '2.99.0')")
    try:
        command = (
            "exec",
            "deploy/scheduler",
            "-c",
            "scheduler",
            "--",
            "python",
            "/devenv/programs/prepare_database.py",
        )
        refused = platform.kubectl(*command, check=False)
        assert refused.returncode != 0
        assert f"made by Airflow 2.99.0, and this image has {release}" in refused.stderr
        assert "set airflow.version to 2.99.0" in refused.stderr
    finally:
        platform.python("scheduler", connect + f"note_release(connection, '{release}')")
    platform.kubectl(*command)


def test_a_crashed_scheduler_comes_back(platform: Platform) -> None:
    pod = platform.kubectl("get", "pod", "-l", "app.kubernetes.io/component=scheduler", "-o", "name").stdout.strip()
    # dumb-init is process 1, and ends with its child.
    platform.kubectl("exec", pod, "-c", "scheduler", "--", "sh", "-c", "kill -9 $(pgrep -o -f 'airflow scheduler')")
    restarts = "jsonpath={.status.containerStatuses[0].restartCount}=1"
    platform.kubectl("wait", pod, f"--for={restarts}", "--timeout=60s")
    # Ready means that its own health check has seen a heartbeat of the new process.
    platform.kubectl("wait", pod, "--for=condition=Ready", "--timeout=120s")


def test_a_changed_setting_restarts_the_pods_that_read_it(platform: Platform) -> None:
    def names(component: str) -> str:
        return platform.kubectl("get", "pod", "-l", f"app.kubernetes.io/component={component}", "-o", "name").stdout

    before = {component: names(component) for component in ("scheduler", "postgres", "vault")}
    platform.apply(settings(core={"parallelism": 7}))
    platform.wait("deploy/scheduler")
    read = "import configparser; c = configparser.RawConfigParser(); c.read('/etc/airflow/airflow.cfg'); "
    assert platform.python("scheduler", read + "print(c['core']['parallelism'])").strip() == "7"
    after = {component: names(component) for component in before}
    assert after["scheduler"] != before["scheduler"]
    assert (after["postgres"], after["vault"]) == (before["postgres"], before["vault"])


def test_a_changed_database_password_is_taken_over(platform: Platform) -> None:
    """The password in Vault is the truth: Postgres takes it when it starts, with the data that it has."""
    project = platform.project
    known = seeds.load_or_create(project)
    changed = known.with_values("postgres/airflow", {"POSTGRES_PASSWORD": "it's 100 % other/than:before@"})
    platform.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(seeds.seed_secret(project, changed)))
    platform.kubectl("rollout", "restart", *WORKLOADS)
    platform.wait(*WORKLOADS)
    health = "import urllib.request; print(urllib.request.urlopen('http://webserver:8080/health').read().decode())"
    assert json.loads(platform.python("agent", health))["metadatabase"]["status"] == "healthy"
