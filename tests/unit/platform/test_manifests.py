"""What holds for every pod of the platform, read from the files as they lie in minikube/."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from devenv.resources import platform_folder

PLATFORM = platform_folder()
BASE = sorted((PLATFORM / "base").glob("*.yaml"))
AIRFLOW_3 = sorted((PLATFORM / "components" / "airflow-3").glob("*.yaml"))


def objects(*kinds: str) -> Iterator[dict[str, Any]]:
    for path in [*BASE, *AIRFLOW_3]:
        for item in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if item and item.get("kind") in kinds:
                yield item


def pod_spec(item: dict[str, Any]) -> dict[str, Any]:
    return item["spec"] if item["kind"] == "Pod" else item["spec"]["template"]["spec"]  # type: ignore[no-any-return]


WORKLOADS = {item["metadata"]["name"]: item for item in objects("Deployment", "StatefulSet", "Pod")}
AIRFLOW = ("scheduler", "webserver", "triggerer", "agent", "api-server", "dag-processor", "task")


def containers(name: str, kind: str = "containers") -> list[dict[str, Any]]:
    return pod_spec(WORKLOADS[name]).get(kind, [])  # type: ignore[no-any-return]


def test_all_components_are_there() -> None:
    assert set(WORKLOADS) == {*AIRFLOW, "postgres", "vault"}


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_pods_keep_to_the_rules(name: str) -> None:
    item = WORKLOADS[name]
    spec = pod_spec(item)
    labels = (item if item["kind"] == "Pod" else item["spec"]["template"])["metadata"]["labels"]
    assert labels["app.kubernetes.io/component"] == name
    assert spec["serviceAccountName"] == name
    # Variables such as POSTGRES_PORT=tcp://… would reach Airflow otherwise.
    assert spec["enableServiceLinks"] is False
    for container in (*spec.get("initContainers", []), *spec["containers"]):
        assert container["imagePullPolicy"] == "IfNotPresent"
    assert all("cpu" in container["resources"]["requests"] for container in spec["containers"])


@pytest.mark.parametrize("name", AIRFLOW)
def test_airflow_pods_get_secrets_from_vault_and_dags_to_read(name: str) -> None:
    init = containers(name, "initContainers")[0]
    assert init["name"] == "secrets"
    assert init["command"][-1] == "/devenv/programs/fetch_secrets.py"
    assert {"name": "DEVENV_COMPONENT", "value": name} in init["env"]
    main = containers(name)[0]
    assert main["name"] == ("base" if name == "task" else name)
    mounts = {mount["mountPath"]: mount for mount in main["volumeMounts"]}
    assert mounts["/opt/airflow/dags"]["readOnly"] is True
    assert mounts["/opt/airflow/dags"]["subPath"] == "dags"
    writable = [path for path, mount in mounts.items() if mount["name"] == "dags" and not mount.get("readOnly")]
    assert writable == (["/devenv/claim"] if name == "agent" else [])
    volumes = {volume["name"]: volume for volume in pod_spec(WORKLOADS[name])["volumes"]}
    assert volumes["etc-airflow"]["emptyDir"]["medium"] == "Memory"


def test_the_agent_is_the_schedulers_twin() -> None:
    scheduler, agent = containers("scheduler")[0], containers("agent")[0]
    for field in ("image", "envFrom", "securityContext"):
        assert agent[field] == scheduler[field]
    assert agent.get("env") == scheduler.get("env")
    own = {"name": "dags", "mountPath": "/devenv/claim"}
    assert [mount for mount in agent["volumeMounts"] if mount != own] == scheduler["volumeMounts"]
    assert pod_spec(WORKLOADS["agent"])["volumes"] == pod_spec(WORKLOADS["scheduler"])["volumes"]
    secrets = [dict(containers(name, "initContainers")[0], env=None) for name in ("agent", "scheduler")]
    assert secrets[0] == secrets[1]


def millicores(names: tuple[str, ...], changed: dict[str, int] | None = None) -> int:
    requested = {
        name: sum(int(container["resources"]["requests"]["cpu"].removesuffix("m")) for container in containers(name))
        for name in names
    }
    return sum((requested | (changed or {})).values())


def test_two_tasks_fit_beside_the_platform() -> None:
    """Two processors, of which Kubernetes itself requests 750m, hold two tasks of 500m."""
    common = ("scheduler", "triggerer", "agent", "postgres", "vault")
    assert millicores((*common, "webserver")) <= 250
    component = yaml.safe_load((PLATFORM / "components/airflow-3/kustomization.yaml").read_text(encoding="utf-8"))
    changed = {
        patch["target"]["name"]: int(operation["value"].removesuffix("m"))
        for patch in component["patches"]
        if "target" in patch
        for operation in yaml.safe_load(patch["patch"])
    }
    assert set(changed) == {"scheduler", "triggerer"}
    assert millicores((*common, "api-server", "dag-processor"), changed) <= 250


def test_a_task_pod_asks_for_what_the_docs_say() -> None:
    (base,) = containers("task")
    assert base["resources"] == {"requests": {"cpu": "500m", "memory": "1Gi"}}
    assert {"name": "AIRFLOW__CORE__EXECUTOR", "value": "LocalExecutor"} in base["env"]


def test_no_secret_is_in_an_environment() -> None:
    for name in WORKLOADS:
        for container in (*containers(name, "initContainers"), *containers(name)):
            for variable in container.get("env", []):
                assert "valueFrom" not in variable
                assert "PASSWORD" not in variable["name"] or variable["name"].endswith("_FILE")
            assert all("secretRef" not in source for source in container.get("envFrom", []))


def test_task_pods_find_what_the_other_pods_find() -> None:
    """Their ConfigMaps have names of their own, without a suffix; the content must be the same files."""
    kustomization = yaml.safe_load((PLATFORM / "base" / "kustomization.yaml").read_text(encoding="utf-8"))
    maps = {generated["name"]: generated for generated in kustomization["configMapGenerator"]}
    assert maps["task-environment"]["envs"] == maps["airflow-environment"]["envs"]
    assert set(maps["task-config"]["files"]) <= set(maps["airflow-config"]["files"])
    assert set(maps["task-programs"]["files"]) <= set(maps["devenv-programs"]["files"])
    used = {
        source["configMap"]["name"] for source in pod_spec(WORKLOADS["task"])["volumes"] if "configMap" in source
    } | {"task-environment"}
    assert all(maps[name]["options"]["disableNameSuffixHash"] for name in used)
