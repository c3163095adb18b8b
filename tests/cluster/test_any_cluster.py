"""`--backend kubernetes`, in a minikube of 3 GB that devenv did not make.

First as the administrator of one namespace in it, who may nothing else; then as the owner of the cluster, with two
nodes. The tests build on each other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.conftest import HELLO, delete_profile
from tests.support.deployed import Deployed
from tests.support.program import Program

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

PROFILE = os.environ.get("DEVENV_TEST_PROFILE", "devenv") + "-any"
MIRRORED = "registry.example.com/team/airflow:2.7.2"
"""Airflow's image under the name that Ada's settings have for it."""
IMAGES = ("apache/airflow:2.7.2", MIRRORED, "postgres:15", "hashicorp/vault:1.21")
SHARED = {"airflow-dag-pvc", "airflow-logs"}
BINDING = "vault-auth-delegator.team-ada"
OWN_KINDS = "deploy,sts,rs,job,pod,svc,cm,secret,pvc,sa,role,rolebinding,pdb"
"""Not `all`: kubectl may remember a kind that another cluster had at the same address."""


def output_of(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load_images(node: str) -> None:
    """Puts the images into a node, as if it had pulled them."""
    output_of("docker", "tag", IMAGES[0], MIRRORED)
    with subprocess.Popen(["docker", "save", *IMAGES], stdout=subprocess.PIPE) as saving:
        into = ["docker", "exec", "-i", node, "ctr", "-n", "k8s.io", "images", "import", "-"]
        subprocess.run(into, stdin=saving.stdout, stdout=subprocess.DEVNULL, check=True)
    output_of("docker", "rmi", MIRRORED)


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """The owner of the cluster, in a project of her own; her kubeconfig has a current context, which is this one."""
    folder, data = tmp_path_factory.mktemp("shop"), tmp_path_factory.mktemp("data")
    (folder / "dags").mkdir()
    (folder / "dags" / "hello.py").write_text(HELLO)
    settings = folder / "devenv.toml"
    settings.touch()
    kubeconfig = data / "kubeconfig"
    variables = {"DEVENV_DATA": str(data), "KUBECONFIG": str(kubeconfig)}
    delete_profile(PROFILE)
    try:
        start = ["minikube", "start", "-p", PROFILE, "--memory=3g", "--cpus=2", "--keep-context"]
        subprocess.run(start, check=True, capture_output=True)
        load_images(PROFILE)
        kubeconfig.write_text(
            output_of("kubectl", "config", "view", "--raw", "--flatten", "--minify", "--context", PROFILE)
        )
        assert yaml.safe_load(kubeconfig.read_text())["current-context"] == PROFILE
        program = Program((sys.executable, "-m", "devenv"), folder, variables)
        yield Deployed(program, PROFILE, "team-everybody")
    finally:
        delete_profile(PROFILE)


@pytest.fixture(scope="module")
def ada(owner: Deployed) -> Deployed:
    """She has the role `admin` in the namespace `team-ada`, and no other right."""
    kubectl = replace(owner, namespace="team-ada").kubectl
    kubectl("create", "namespace", "team-ada")
    kubectl("create", "serviceaccount", "ada")
    kubectl("create", "rolebinding", "ada", "--clusterrole=admin", "--serviceaccount=team-ada:ada")
    kubectl("create", "configmap", "theirs", "--from-literal=kept=yes")
    path = Path(owner.program.variables["KUBECONFIG"])
    config = yaml.safe_load(path.read_text())
    token = kubectl("create", "token", "ada", "--duration=4h").strip()
    config["users"].append({"name": "ada", "user": {"token": token}})
    config["contexts"].append({"name": "ada", "context": {"cluster": PROFILE, "user": "ada"}})
    path.write_text(yaml.safe_dump(config))
    (owner.program.folder / "devenv.toml").write_text(
        '[kubernetes]\nnamespace = "team-ada"\nstorage_class = "standard"\n'
        f'[images]\nairflow = "{MIRRORED}"\npull_secret = "registry"\n'
    )
    return replace(owner, context="ada", namespace="team-ada")


def as_ada(ada: Deployed, *arguments: str) -> str:
    """kubectl with the file that only these tests have."""
    return output_of("kubectl", "--kubeconfig", ada.program.variables["KUBECONFIG"], "--context=ada", *arguments)


def notices(program: Program, *arguments: str) -> list[str]:
    """What a command that ended well told."""
    return [line.data["message"] for line in program.json(*arguments) if line.type == "devenv.notice"]


def refusal(program: Program, *arguments: str, code: int) -> dict[str, Any]:
    """With which error a command ended."""
    return program.json(*arguments, code=code)[-1].data


def test_only_a_context_that_is_named_is_used(owner: Deployed) -> None:
    error = refusal(owner.program, "up", "--backend", "kubernetes", "--detach", code=2)
    assert "devenv never uses the current context implicitly" in str(error)
    error = refusal(owner.program, "up", "--context", "elsewhere", "--detach", code=2)
    assert error["message"].startswith("There is no context 'elsewhere'")
    assert PROFILE in error["hint"]
    assert "airflow" not in owner.kubectl("get", "namespaces")


def test_what_somebody_else_made_is_not_overwritten(owner: Deployed, ada: Deployed) -> None:
    admin = replace(owner, namespace="team-ada")
    admin.kubectl("create", "service", "clusterip", "vault", "--tcp=1:1")
    error = refusal(ada.program, "up", "--context", "ada", "--detach", code=5)
    assert error["message"] == "Service vault exists already and is not devenv's"
    assert admin.kubectl("get", "service", "vault", "-o", "jsonpath={.spec.ports[0].port}") == "1"
    assert not admin.kubectl("get", "deployments,pvc,serviceaccounts,roles", "-l", "devenv.io/environment", "-oname")
    admin.kubectl("delete", "service", "vault")


def test_a_namespaces_administrator_gets_an_airflow_in_3_gigabytes(owner: Deployed, ada: Deployed) -> None:
    role = ["--clusterrole=system:auth-delegator", "--serviceaccount=team-ada:vault"]
    owner.kubectl("create", "clusterrolebinding", BINDING, *role)
    said = notices(ada.program, "up", "--context", "ada", "--detach")
    assert any(BINDING in message and "which your account may not make" in message for message in said)
    ada.program.run("sync")
    ada.program.run("run", "hello", "--wait", seconds=420)
    assert "hello from a task" in ada.program.run("logs", "hello", "say")
    (status,) = [line.data for line in ada.program.json("status") if line.type == "devenv.status"]
    assert (status["state"], status["backend"], status["urls"]) == ("up", "kubernetes", {})
    assert {item["health"] for item in status["components"]} == {"running"}
    assert {item["image"] for item in status["components"]} == {MIRRORED, "postgres:15", "hashicorp/vault:1.21"}
    account = as_ada(ada, "-n", "team-ada", "get", "serviceaccount", "task", "-o", "jsonpath={.imagePullSecrets}")
    assert json.loads(account) == [{"name": "registry"}]


def test_the_class_is_the_one_that_is_set_and_its_volumes_can_be_written(ada: Deployed) -> None:
    claims = json.loads(as_ada(ada, "-n", "team-ada", "get", "pvc", "-o", "json"))["items"]
    assert {claim["spec"]["storageClassName"] for claim in claims} == {"standard"}
    # Ada may not see how many nodes there are.
    modes = {claim["metadata"]["name"]: claim["spec"]["accessModes"] for claim in claims}
    assert modes == {"postgres-data": ["ReadWriteOnce"], **{name: ["ReadWriteMany"] for name in SHARED}}
    # hostPath has no fsGroup: minikube's provisioner makes folders that everybody may write to.
    script = "id -u; id -g; for folder in /devenv/claim /opt/airflow/logs; do touch $folder/x && rm $folder/x; done"
    said = as_ada(ada, "-n", "team-ada", "exec", "deploy/agent", "-c", "agent", "--", "sh", "-ec", script)
    assert said.split() == ["50000", "0"]


def test_a_save_gets_its_verdict_and_pages_answer_while_a_watch_runs(ada: Deployed) -> None:
    path = ada.program.folder / "dags" / "hello.py"
    with ada.program.watching() as watch:
        watch.verdict("dags/hello.py", ok=True)
        path.write_text("import pandaz\n" + HELLO)
        (problem,) = watch.verdict("dags/hello.py", ok=False)["problems"][:1]
        assert "pandaz" in problem["message"]
        watch.parsed("dags/hello.py")
        address = ada.program.run("open", "airflow", "--print").strip()
        assert '"healthy"' in output_of("curl", "--fail", "--silent", f"{address}/health")
        path.write_text(HELLO)
        watch.verdict("dags/hello.py", ok=True)
        watch.parsed("dags/hello.py")
    ada.program.run("open", "airflow", "--print", code=2)


def test_down_keeps_the_data_and_a_second_up_does_nothing(ada: Deployed) -> None:
    ada.program.run("down")
    assert " is stopped" in ada.program.run("status", code=1)
    ada.program.run("up", "--detach", seconds=900)
    assert "hello from a task" in ada.program.run("logs", "hello", "say")
    steps = [line.data for line in ada.program.json("up", "--detach") if line.type == "devenv.step.finished"]
    assert len(steps) > 5
    assert [step for step in steps if not step["skipped"]] == []


def test_destroy_removes_what_is_ours_and_the_namespace_stays(owner: Deployed, ada: Deployed) -> None:
    ada.program.run("destroy", "--yes", seconds=300)
    left = set(as_ada(ada, "-n", "team-ada", "get", OWN_KINDS, "-oname").split())
    assert left == {
        "configmap/kube-root-ca.crt",
        "configmap/theirs",
        "serviceaccount/default",
        "serviceaccount/ada",
        "rolebinding.rbac.authorization.k8s.io/ada",
    }
    assert owner.kubectl("get", "clusterrolebinding", BINDING)  # the administrator's
    assert not owner.kubectl("get", "pv", "-oname")


@pytest.fixture(scope="module")
def two_nodes(owner: Deployed) -> list[str]:
    """A second node, on which pods can run and reach those of the first; a folder on both for each claim."""
    nodes = [PROFILE, f"{PROFILE}-m02"]
    subprocess.run(["minikube", "node", "add", "-p", PROFILE], check=True, capture_output=True)
    if "1-k8s.conflist" in output_of("docker", "exec", PROFILE, "ls", "/etc/cni/net.d"):
        join_bridges(owner, *nodes)
    owner.kubectl("wait", "--for=condition=Ready", f"node/{nodes[1]}", "--timeout=180s")
    load_images(nodes[1])
    # minikube's provisioner makes them on the first node alone, where it runs.
    folders = [f"/tmp/hostpath-provisioner/{owner.namespace}/{name}" for name in (*SHARED, "postgres-data")]
    for node in nodes:
        output_of("docker", "exec", node, "mkdir", "-p", "-m", "777", *folders)
    return nodes


def join_bridges(owner: Deployed, first: str, second: str) -> None:
    """Does for two nodes what minikube's CNI `bridge` does for one: addresses of their own, and a way to the others."""
    config = json.loads(output_of("docker", "exec", first, "cat", "/etc/cni/net.d/1-k8s.conflist"))
    (bridge,) = [plugin for plugin in config["plugins"] if plugin["type"] == "bridge"]
    bridge["ipam"] |= {"rangeStart": "10.244.1.2", "rangeEnd": "10.244.1.250", "gateway": "10.244.1.1"}
    make = "mkdir -p /etc/cni/net.d && cat > /etc/cni/net.d/1-k8s.conflist"
    output_of("docker", "exec", "-i", second, "sh", "-c", make, stdin=json.dumps(config))
    address = "jsonpath={.status.addresses[?(@.type=='InternalIP')].address}"
    for node, other, subnet in ((first, second, "10.244.1.0/24"), (second, first, "10.244.0.0/24")):
        way = owner.kubectl("get", "node", other, "-o", address)
        output_of("docker", "exec", node, "ip", "route", "replace", subnet, "via", way)
        # One network of pods on two bridges: each node answers for the pods of the other.
        output_of("docker", "exec", node, "sysctl", "-w", "net.ipv4.conf.default.proxy_arp=1")
    output_of("docker", "exec", first, "sysctl", "-w", "net.ipv4.conf.bridge.proxy_arp=1")


def test_on_two_nodes_without_a_shared_class_all_who_mount_the_volume_run_beside_the_agent(
    owner: Deployed, two_nodes: list[str]
) -> None:
    settings = owner.program.folder / "devenv.toml"
    settings.write_text(f'[kubernetes]\nnamespace = "{owner.namespace}"\n')
    said = notices(owner.program, "up", "--context", PROFILE, "--detach")
    assert (
        "2 nodes and no storage class for shared volumes: every pod with the DAG volume runs on the agent's node"
    ) in said
    mounting = [pod for pod in pods(owner) if claims_of(pod) & SHARED]
    assert {component(pod) for pod in mounting} == {"scheduler", "webserver", "triggerer", "agent"}
    (node,) = {pod["spec"]["nodeName"] for pod in mounting}
    owner.program.run("sync")
    # With that node closed, a task waits for it, although the other one has room.
    owner.kubectl("cordon", node)
    try:
        owner.program.run("run", "hello")
        owner.until(lambda: "affinity rules" in failed_scheduling(owner), "the task pod is refused by the other node")
    finally:
        owner.kubectl("uncordon", node)
    owner.until(lambda: owner.sql("SELECT state FROM dag_run") == [["success"]], "the task has run")
    (task,) = [event for event in events(owner, "Scheduled") if event["involvedObject"]["name"].startswith("hello-say")]
    assert task["message"].endswith(f" to {node}")


def test_destroy_removes_a_namespace_that_devenv_made(owner: Deployed, two_nodes: list[str]) -> None:
    assert two_nodes
    owner.program.run("destroy", "--yes", seconds=300)
    assert owner.namespace not in owner.kubectl("get", "namespaces", "-oname")
    assert not owner.kubectl("get", "clusterrolebinding", "-l", "devenv.io/environment", "-oname")


def pods(deployed: Deployed) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(deployed.kubectl("get", "pods", "-o", "json"))["items"]
    return found


def component(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


def claims_of(pod: dict[str, Any]) -> set[str]:
    claims = (volume.get("persistentVolumeClaim") for volume in pod["spec"]["volumes"])
    return {claim["claimName"] for claim in claims if claim}


def events(deployed: Deployed, reason: str) -> list[dict[str, Any]]:
    listed = deployed.kubectl("get", "events", "--field-selector", f"reason={reason}", "-o", "json")
    found: list[dict[str, Any]] = json.loads(listed)["items"]
    return found


def failed_scheduling(deployed: Deployed) -> str:
    """Why no node takes the task's pod."""
    return "\n".join(
        event["message"]
        for event in events(deployed, "FailedScheduling")
        if event["involvedObject"]["name"].startswith("hello-say")
    )
