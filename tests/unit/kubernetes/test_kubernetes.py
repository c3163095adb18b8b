"""Any cluster: where pods that share a volume go, what only its administrator may make, what is ours to remove."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from devenv.airflow.upgrade import ReleaseTooOld, release_in, require_not_older
from devenv.cluster.errors import AccessDenied
from devenv.environment import Environment
from devenv.events import Event, Notice
from devenv.kubernetes.backend import KubernetesBackend
from devenv.platform import preflight
from devenv.platform.preflight import require_move
from devenv.project import Project
from devenv.settings.schema import KubernetesSettings, Settings

NODE: dict[str, Any] = {"spec": {}}
TAINTED = {"spec": {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}}
CORDONED = {"spec": {"unschedulable": True}}


class Cluster:
    """Has these objects, by kind, and allows what it is told to."""

    def __init__(self, objects: Mapping[str, list[dict[str, Any]] | None], *, allows: bool = True) -> None:
        self.objects = objects
        self.allows = allows

    def list(self, kind: str, namespace: str | None = None, *, labels: str = "") -> list[dict[str, Any]]:
        found = self.objects.get(kind, [])
        if found is None:
            raise AccessDenied("not you", status=403)
        return found

    def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        return next((item for item in self.objects.get(kind) or [] if item["metadata"]["name"] == name), None)

    def can_i(self, verb: str, resource: str, namespace: str | None = None, *, group: str = "") -> bool:
        return self.allows

    def request(self, _method: str, _path: str, *, timeout: float) -> dict[str, Any]:
        return {}

    def version(self) -> str:
        return "v1.34.4"


@pytest.fixture
def told() -> list[Event]:
    return []


def backend_on(
    folder: Path, cluster: Cluster, told: list[Event], storage_class: str | None = None
) -> KubernetesBackend:
    settings = Settings(
        backend="kubernetes", kubernetes=KubernetesSettings(context="staging", storage_class=storage_class)
    )
    backend = KubernetesBackend(Project(folder, settings, Environment(variables={})), "", told.append)
    backend.cluster = lambda: cluster  # type: ignore[method-assign,assignment,return-value]
    return backend


def claim(name: str, modes: tuple[str, ...] = ("ReadWriteOnce",)) -> dict[str, Any]:
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {"accessModes": list(modes)}}


def pod(*claims: str) -> dict[str, Any]:
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    return {"metadata": {}, "spec": {"volumes": [*volumes, {"name": "programs", "configMap": {}}]}}


def platform() -> list[dict[str, Any]]:
    return [
        *(claim(name) for name in ("airflow-dag-pvc", "airflow-logs", "postgres-data")),
        {"kind": "ConfigMap", "data": {"pod-template.yaml": yaml.safe_dump(pod("airflow-dag-pvc"))}},
        {"kind": "Deployment", "spec": {"template": pod("airflow-dag-pvc", "airflow-logs")}},
        {"kind": "StatefulSet", "spec": {"template": pod("postgres-data")}},
    ]


def placed(objects: list[dict[str, Any]]) -> list[bool]:
    """Of the task pods, the Deployment and the StatefulSet, who must go where the others are."""
    pods = [
        yaml.safe_load(objects[3]["data"]["pod-template.yaml"]),
        *(item["spec"]["template"] for item in objects[4:]),
    ]
    found = []
    for each in pods:
        rules = each["spec"].get("affinity", {}).get("podAffinity", {})
        labels = each["metadata"].get("labels", {})
        for rule in rules.get("requiredDuringSchedulingIgnoredDuringExecution", []):
            assert rule["labelSelector"]["matchLabels"].items() <= labels.items()  # so that the first may go anywhere
        found.append(bool(rules))
    return found


@pytest.mark.parametrize("nodes", [[NODE], [NODE, TAINTED, CORDONED]])
def test_on_one_node_nothing_is_arranged(project_folder: Path, told: list[Event], nodes: list[dict[str, Any]]) -> None:
    arranged = backend_on(project_folder, Cluster({"Node": nodes}), told, "nfs").arrange(platform())
    assert arranged == platform()
    assert not told


@pytest.mark.parametrize(("nodes", "words"), [([NODE, NODE], "2 nodes"), (None, "nodes that your account may not see")])
def test_on_several_all_who_mount_a_shared_claim_go_to_one_and_this_is_said_once(
    project_folder: Path, told: list[Event], nodes: list[dict[str, Any]] | None, words: str
) -> None:
    backend = backend_on(project_folder, Cluster({"Node": nodes}), told)
    for _ in range(2):
        assert placed(backend.arrange(platform())) == [True, True, False]
    (notice,) = told
    assert isinstance(notice, Notice)
    assert notice.message.startswith(words)


def test_with_a_class_for_shared_volumes_only_what_is_shared_asks_for_it(
    project_folder: Path, told: list[Event]
) -> None:
    arranged = backend_on(project_folder, Cluster({"Node": [NODE, NODE]}), told, "nfs").arrange(platform())
    modes = [item["spec"]["accessModes"] for item in arranged[:3]]
    assert modes == [["ReadWriteMany"], ["ReadWriteMany"], ["ReadWriteOnce"]]
    assert placed(arranged) == [False, False, False]
    assert not told


def test_a_claim_from_before_there_were_several_nodes_stays_as_it_is(project_folder: Path, told: list[Event]) -> None:
    live = [claim("airflow-dag-pvc"), claim("airflow-logs")]
    cluster = Cluster({"Node": [NODE, NODE], "PersistentVolumeClaim": live})
    arranged = backend_on(project_folder, cluster, told, "nfs").arrange(platform())
    assert all(item["spec"]["accessModes"] == ["ReadWriteOnce"] for item in arranged[:3])
    assert placed(arranged) == [True, True, False]


def test_what_only_the_clusters_administrator_may_make_is_left_to_him(project_folder: Path, told: list[Event]) -> None:
    backend = backend_on(project_folder, Cluster({"Node": [NODE]}, allows=False), told)
    backend._objects = [
        {"kind": "ClusterRoleBinding", "metadata": {"name": "vault-auth-delegator.airflow"}},
        {"kind": "Service", "metadata": {"name": "vault"}},
    ]
    assert [item["kind"] for item in backend.foundations()] == ["Service"]
    (notice,) = told
    assert isinstance(notice, Notice)
    assert "vault-auth-delegator.airflow --clusterrole=system:auth-delegator" in notice.hint
    assert "ClusterRoleBinding" not in {kind for kind, _name in backend.own_objects()}


@pytest.mark.parametrize("whose", ["ours", "theirs"])
def test_the_cluster_needs_no_second_look_where_our_seeds_are_also_in_a_namespace_of_others(
    project_folder: Path, told: list[Event], whose: str
) -> None:
    seeds = {"metadata": {"name": "vault-seed", "labels": {"devenv.io/environment": "theirs"}}}
    cluster = Cluster({"Secret": [seeds], "Namespace": [{"metadata": {"name": "airflow"}}]})
    backend = backend_on(project_folder, cluster, told)
    if whose == "ours":
        seeds["metadata"]["labels"] = {"devenv.io/environment": backend.project.identifier}
    connect = next(step for step in backend.up_steps() if step.name == "cluster")
    assert connect.check() is (whose == "ours")


def test_what_is_scaled_down_is_stopped(project_folder: Path, told: list[Event]) -> None:
    workload = {
        "metadata": {"name": "scheduler"},
        "spec": {"replicas": 0, "selector": {}, "template": {"spec": {"containers": [{"image": "airflow"}]}}},
        "status": {},
    }
    status = backend_on(project_folder, Cluster({"Deployment": [workload]}), told).status()
    assert status.state == "stopped"


@pytest.mark.parametrize("noted", [None, "2.7.2", "2.10.5", "3.3.2"])
def test_a_database_moves_forward(noted: str | None) -> None:
    require_not_older(noted, "3.3.2")


def test_a_database_does_not_move_back() -> None:
    with pytest.raises(ReleaseTooOld, match=r"is that of Airflow 2\.10\.5") as refused:
        require_not_older("2.10.5", "2.9.3")
    assert refused.value.hint is not None
    assert refused.value.hint.startswith("devenv up --airflow-version 2.10.5")


@pytest.mark.parametrize(
    ("started", "made", "refused"),
    [
        (None, "3.3.2", "3.3.2"),  # the claim is of an earlier devenv
        (None, None, None),  # and its database does not run: the init container will look
        ("2.7.2", "3.3.2", None),  # not asked
        ("3.3.2", "2.7.2", None),  # the move was interrupted before it began
        ("3.3.2", None, "3.3.2"),  # stopped
        ("3.3.2", "3.3.2", "3.3.2"),
    ],
)
def test_the_database_is_asked_where_its_claim_would_refuse_or_does_not_know(
    project_folder: Path,
    told: list[Event],
    monkeypatch: pytest.MonkeyPatch,
    started: str | None,
    made: str | None,
    refused: str | None,
) -> None:
    database = claim("postgres-data")
    database["metadata"]["annotations"] = {"devenv.io/airflow-release": started} if started else {}
    monkeypatch.setattr(preflight, "_made_by", lambda _backend: made)
    backend = backend_on(project_folder, Cluster({"PersistentVolumeClaim": [database]}), told)
    if refused is None:
        require_move(backend)
        return
    with pytest.raises(ReleaseTooOld, match=f"is that of Airflow {refused}"):
        require_move(backend)


def test_what_the_init_container_notes_is_understood() -> None:
    assert release_in("made by devenv with Airflow 3.3.2\n") == "3.3.2"
    assert release_in("") is None
