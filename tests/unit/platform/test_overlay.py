"""What the settings of a project change in the platform. kustomize itself runs in tests/cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from devenv.environment import Environment
from devenv.platform.overlay import write_overlay
from devenv.project import Project
from devenv.settings.schema import (
    AirflowSettings,
    ImageSettings,
    KubernetesSettings,
    SecretFile,
    Settings,
    SyncSettings,
    VaultSettings,
)

IMAGE = "registry:5000/team/airflow:2.7.2-abc"


def project_of(folder: Path, settings: Settings) -> Project:
    return Project(folder=folder, settings=settings, environment=Environment())


class Overlay:
    """A written overlay, read back."""

    def __init__(self, folder: Path, settings: Settings, image: str = IMAGE) -> None:
        self.project = project_of(folder, settings)
        self.folder = write_overlay(self.project, airflow_image=image)
        self.kustomization: dict[str, Any] = self.yaml("kustomization.yaml")
        self.pod: dict[str, Any] = self.yaml("pod-template.yaml")

    def yaml(self, name: str) -> Any:
        return yaml.safe_load((self.folder / name).read_text(encoding="utf-8"))

    def patches(self, kind: str, name: str | None = None) -> list[Any]:
        target = {"kind": kind} | ({"name": name} if name else {})
        return [json.loads(patch["patch"]) for patch in self.kustomization["patches"] if patch["target"] == target]


def test_it_is_complete_in_itself(project_folder: Path) -> None:
    """kustomize refuses files outside of the folder, and so would a person who takes it elsewhere."""
    overlay = Overlay(project_folder, Settings(airflow=AirflowSettings(version="3.3.2")))
    assert overlay.folder == project_folder / ".devenv" / "overlay"
    named = [
        *overlay.kustomization["resources"],
        *overlay.kustomization["components"],
        *(path for generated in overlay.kustomization["configMapGenerator"] for path in generated.get("files", [])),
    ]
    for path in named:
        assert (overlay.folder / path).resolve().is_relative_to(overlay.folder.resolve())
        assert (overlay.folder / path).exists()


def test_writing_again_leaves_nothing_old(project_folder: Path) -> None:
    first = Overlay(project_folder, Settings()).folder
    before = {path.relative_to(first): path.read_bytes() for path in first.rglob("*") if path.is_file()}
    (first / "minikube" / "base" / "of-an-older-devenv.yaml").touch()
    again = Overlay(project_folder, Settings()).folder
    assert {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("apache/airflow:2.7.2", {"newName": "apache/airflow", "newTag": "2.7.2"}),
        ("registry:5000/airflow", {"newName": "registry:5000/airflow", "newTag": "latest"}),
        ("registry:5000/a/b:1@sha256:00ff", {"newName": "registry:5000/a/b", "digest": "sha256:00ff"}),
    ],
)
def test_images_are_taken_apart(project_folder: Path, image: str, parts: dict[str, str]) -> None:
    overlay = Overlay(project_folder, Settings(), image)
    assert {"name": "apache/airflow", **parts} in overlay.kustomization["images"]
    assert {container["image"] for container in overlay.pod["spec"]["containers"]} == {image}
    assert {container["image"] for container in overlay.pod["spec"]["initContainers"]} == {image}


def test_every_object_says_whose_it_is(project_folder: Path) -> None:
    overlay = Overlay(project_folder, Settings())
    (labels,) = overlay.kustomization["labels"]
    assert labels["pairs"] == {"devenv.io/environment": overlay.project.identifier}
    assert labels["includeSelectors"] is False  # a selector can never change
    assert overlay.kustomization["commonAnnotations"] == {"devenv.io/folder": str(project_folder)}
    assert overlay.pod["metadata"]["labels"]["devenv.io/environment"] == overlay.project.identifier


def test_synced_folders_are_mounted_and_importable(project_folder: Path) -> None:
    overlay = Overlay(project_folder, Settings(sync=SyncSettings(folders=("plugins", "include"))))
    mount = {"name": "dags", "mountPath": "/opt/airflow/include", "subPath": "include", "readOnly": True}
    for component in ("scheduler", "webserver", "triggerer", "agent"):
        (operations,) = overlay.patches("Deployment", component)
        assert mount in [operation["value"] for operation in operations]
    assert mount in overlay.pod["spec"]["containers"][0]["volumeMounts"]
    environments = {
        generated["name"]: generated["literals"]
        for generated in overlay.kustomization["configMapGenerator"]
        if "literals" in generated
    }
    path = "PYTHONPATH=/opt/airflow/plugins:/opt/airflow/include:/opt/airflow"
    assert environments == {"airflow-environment": [path], "task-environment": [path]}


def test_entries_of_the_path_below_the_dag_folder_are_there_before_airflow_starts(project_folder: Path) -> None:
    overlay = Overlay(project_folder, Settings(sync=SyncSettings(python_path=("dags/libs", "."))))
    for component in ("scheduler", "triggerer"):
        (operations,) = overlay.patches("Deployment", component)
        (container,) = [operation["value"] for operation in operations if "initContainers" in operation["path"]]
        assert container["command"] == ["mkdir", "-p", "--", "/opt/airflow/dags/libs"]
        assert container["volumeMounts"][0]["readOnly"] is False
    environments = [one["literals"] for one in overlay.kustomization["configMapGenerator"] if "literals" in one]
    assert environments == [["PYTHONPATH=/opt/airflow/dags/libs:/opt/airflow"]] * 2


def test_the_project_s_variables_are_a_secret_that_every_pod_of_airflow_has(project_folder: Path) -> None:
    (project_folder / ".env").write_text("TEAM_BUCKET=s3://team\n")
    overlay = Overlay(project_folder, Settings())
    secret = overlay.yaml("project-environment.yaml")
    assert secret["stringData"] == {"TEAM_BUCKET": "s3://team"}
    reference = {"secretRef": {"name": secret["metadata"]["name"]}}
    assert reference in overlay.pod["spec"]["containers"][0]["envFrom"]
    for component in ("scheduler", "webserver", "triggerer", "agent"):
        (operations,) = overlay.patches("Deployment", component)
        assert reference in [operation["value"] for operation in operations]
    (project_folder / ".env").unlink()
    bare = Overlay(project_folder, Settings())
    assert not (bare.folder / "project-environment.yaml").exists()
    assert "project-environment.yaml" not in bare.kustomization["resources"]


def test_configuration_reaches_core_pods_and_task_pods(project_folder: Path) -> None:
    overlay = Overlay(project_folder, Settings(airflow=AirflowSettings(config={"core": {"parallelism": 7}})))
    assert "parallelism = 7\n" in (overlay.folder / "airflow.cfg.template").read_text(encoding="utf-8")
    merged = {
        generated["name"]: generated["files"]
        for generated in overlay.kustomization["configMapGenerator"]
        if generated["behavior"] == "merge"
    }
    assert "airflow.cfg.template" in merged["airflow-config"]
    assert "airflow.cfg.template" in merged["task-config"]
    assert "pod-template.yaml" in merged["airflow-config"]
    # A task in Airflow 2 reads it too, and warns in its log otherwise.
    assert "pod-template.yaml" in merged["task-config"]


def test_secrets_of_the_project_are_listed(project_folder: Path) -> None:
    secret = SecretFile(path="warehouse/reader", file="warehouse.env", keys=("USER",))
    overlay = Overlay(project_folder, Settings(vault=VaultSettings(mount="kv", secrets={"warehouse": secret})))
    listing = json.loads((overlay.folder / "secrets.json").read_text(encoding="utf-8"))
    assert listing["mount"] == "kv"
    assert "warehouse.env" in [entry.get("file") for entry in listing["secrets"]]


def test_a_clusters_own_things(project_folder: Path) -> None:
    settings = Settings(
        backend="kubernetes",
        images=ImageSettings(pull_secret="registry"),
        kubernetes=KubernetesSettings(
            namespace="team-a", storage_class="fast", service_account_annotations={"iam.example/role": "airflow"}
        ),
    )
    overlay = Overlay(project_folder, settings)
    assert overlay.kustomization["namespace"] == "team-a"
    (rename,) = overlay.patches("ClusterRoleBinding", "vault-auth-delegator.airflow")
    assert rename[0]["value"] == "vault-auth-delegator.team-a"
    (pull,) = overlay.patches("ServiceAccount")
    assert pull[0]["value"] == [{"name": "registry"}]
    (storage,) = overlay.patches("PersistentVolumeClaim")
    assert storage[0]["value"] == "fast"
    (annotated,) = overlay.patches("ServiceAccount", "task")
    assert annotated["metadata"]["annotations"] == {"iam.example/role": "airflow"}
    (service,) = overlay.patches("Service", "webserver")
    assert {"op": "remove", "path": "/spec/ports/0/nodePort"} in service


def test_tasks_in_the_scheduler_may_start_pods(project_folder: Path) -> None:
    assert Overlay(project_folder, Settings()).patches("RoleBinding", "task") == []
    overlay = Overlay(project_folder, Settings(airflow=AirflowSettings(executor="LocalExecutor")))
    (operations,) = overlay.patches("RoleBinding", "task")
    assert operations[0]["value"]["name"] == "scheduler"


def test_airflow_3_is_another_component(project_folder: Path) -> None:
    assert "components" not in Overlay(project_folder, Settings()).kustomization
    overlay = Overlay(project_folder, Settings(airflow=AirflowSettings(version="3.3.2")))
    assert overlay.kustomization["components"] == ["minikube/components/airflow-3"]


def test_the_databases_claim_says_which_release_was_started_on_it(project_folder: Path) -> None:
    overlay = Overlay(project_folder, Settings(airflow=AirflowSettings(version="3.3.2")))
    (claim,) = overlay.patches("PersistentVolumeClaim", "postgres-data")
    assert claim["metadata"]["annotations"] == {"devenv.io/airflow-release": "3.3.2"}
