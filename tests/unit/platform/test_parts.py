"""What is switched on by setting: executors, several schedulers, monitoring. All of it is additive."""

from __future__ import annotations

import configparser
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from devenv.components import ALL, BY_NAME, OPTIONAL, WORKLOADS, page_name
from devenv.environment import Environment
from devenv.platform.overlay import write_overlay
from devenv.project import Project
from devenv.resources import platform_folder
from devenv.settings.schema import AirflowSettings, SecretFile, Settings, SyncSettings, VaultSettings
from devenv.vault import layout, platform_secrets, seeds

COMPONENTS = platform_folder() / "components"
CELERY = Settings(airflow=AirflowSettings(executor="CeleryExecutor"))
MONITORED = Settings(components=("monitoring",))


def overlay(folder: Path, settings: Settings) -> tuple[dict[str, Any], Path]:
    project = Project(folder=folder, settings=settings, environment=Environment())
    written = write_overlay(project, airflow_image="apache/airflow:2.7.2")
    return yaml.safe_load((written / "kustomization.yaml").read_text(encoding="utf-8")), written


def options(written: Path) -> configparser.RawConfigParser:
    config = configparser.RawConfigParser()
    config.read(written / "airflow.cfg.template", encoding="utf-8")
    return config


def workloads(component: str) -> list[dict[str, Any]]:
    return [
        item
        for path in sorted((COMPONENTS / component).glob("*.yaml"))
        for item in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if item and item["kind"] in ("Deployment", "StatefulSet")
    ]


def base(component: str) -> list[dict[str, Any]]:
    text = (platform_folder() / "base" / f"{component}.yaml").read_text(encoding="utf-8")
    return [item for item in yaml.safe_load_all(text) if item]


def test_the_default_environment_has_none_of_it(project_folder: Path) -> None:
    kustomization, written = overlay(project_folder, Settings())
    assert "components" not in kustomization
    assert {image["name"] for image in kustomization["images"]} == {"apache/airflow", "postgres", "hashicorp/vault"}
    assert not {"celery", "metrics"} & set(options(written).sections())
    listing = json.loads((written / "secrets.json").read_text(encoding="utf-8"))
    assert set(layout.roles(listing)) == {*listing["roles"], "postgres"}


def test_celery_adds_broker_worker_and_flower(project_folder: Path) -> None:
    kustomization, written = overlay(project_folder, CELERY)
    assert kustomization["components"] == ["minikube/components/celery"]
    assert {"name": "redis", "newName": "redis", "newTag": "7"} in kustomization["images"]
    config = options(written)
    assert config["core"]["executor"] == "CeleryExecutor"
    # Names, which the init container replaces: no password is in a ConfigMap.
    assert config["celery"]["broker_url"] == "${CELERY_BROKER_URL}"
    assert {item["metadata"]["name"] for item in workloads("celery")} == {"redis", "worker", "flower"}


def test_the_database_does_not_restart_for_what_others_fetch(tmp_path: Path) -> None:
    more = Settings(
        airflow=AirflowSettings(executor="CeleryExecutor"),
        components=("monitoring",),
        vault=VaultSettings(secrets={"warehouse": SecretFile(path="warehouse", file="warehouse.env", keys=("USER",))}),
    )
    fetched = []
    for name, settings in (("few", Settings()), ("more", more)):
        (tmp_path / name).mkdir()
        kustomization, written = overlay(tmp_path / name, settings)
        (files,) = (
            each["files"] for each in kustomization["configMapGenerator"] if each["name"] == "postgres-programs"
        )
        (file,) = files
        fetched.append((written / file).read_text(encoding="utf-8"))
    assert fetched[0] == fetched[1]
    assert [entry["file"] for entry in json.loads(fetched[0])["secrets"]] == ["postgres-password"]
    volumes = {item["kind"]: item for item in base("postgres")}["StatefulSet"]["spec"]["template"]["spec"]["volumes"]
    assert [each["configMap"]["name"] for each in volumes if "configMap" in each] == ["postgres-programs"]


def test_only_who_needs_it_reads_the_brokers_password(project_folder: Path) -> None:
    project = Project(folder=project_folder, settings=CELERY, environment=Environment())
    document = seeds.seed_document(project, seeds.Seeds(generated=platform_secrets.generate()))
    assert document["secrets"]["flower/login"]["FLOWER_USER"] == "admin"
    allowed = {name for name, policy in document["policies"].items() if "celery/broker" in policy}
    assert allowed == {f"devenv-{name}" for name in ("scheduler", "worker", "flower", "redis")}
    assert "postgres/airflow" not in document["policies"]["devenv-flower"]


def test_synced_folders_reach_the_worker(project_folder: Path) -> None:
    settings = CELERY.model_copy(update={"sync": SyncSettings(folders=("include",))})
    kustomization, _ = overlay(project_folder, settings)
    patched = [patch["target"].get("name") for patch in kustomization["patches"] if "/include" in patch["patch"]]
    assert "worker" in patched


def test_several_schedulers_replace_each_other_one_by_one(project_folder: Path) -> None:
    kustomization, _ = overlay(project_folder, Settings(airflow=AirflowSettings(schedulers=2)))
    assert kustomization["components"] == ["minikube/components/ha"]
    (replicas,) = [json.loads(each["patch"]) for each in kustomization["patches"] if "/spec/replicas" in each["patch"]]
    assert replicas[0]["value"] == 2
    component = yaml.safe_load((COMPONENTS / "ha" / "kustomization.yaml").read_text(encoding="utf-8"))
    (strategy,) = yaml.safe_load(component["patches"][0]["patch"])
    assert strategy["value"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}


def test_task_pods_send_their_metrics_to_a_service(project_folder: Path) -> None:
    kustomization, written = overlay(project_folder, MONITORED)
    assert kustomization["components"] == ["minikube/components/monitoring"]
    metrics = options(written)["metrics"]
    assert {"statsd_host": "localhost", "statsd_influxdb_enabled": "True"}.items() <= metrics.items()
    assert "return_code" in metrics["statsd_disabled_tags"].split(",")
    pod = yaml.safe_load((written / "pod-template.yaml").read_text(encoding="utf-8"))
    (base,) = pod["spec"]["containers"]
    assert {"name": "AIRFLOW__METRICS__STATSD_HOST", "value": "statsd"} in base["env"]


@pytest.mark.parametrize("component", ["celery", "monitoring", "lineage"])
def test_pods_of_components_keep_to_the_rules(component: str) -> None:
    for item in workloads(component):
        name, spec = item["metadata"]["name"], item["spec"]["template"]["spec"]
        assert item["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == name
        assert spec["serviceAccountName"] == name
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in (*spec.get("initContainers", []), *spec["containers"]):
            assert container["imagePullPolicy"] == "IfNotPresent"
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            for variable in container.get("env", []):
                assert "valueFrom" not in variable
                assert "PASSWORD" not in variable["name"] or variable["name"].endswith("_FILE")


def test_the_rules_are_the_ones_that_were_asked_for() -> None:
    rules = yaml.safe_load((COMPONENTS / "monitoring" / "rules.yml").read_text(encoding="utf-8"))
    assert rules["groups"][0]["rules"][0] == {
        "alert": "AirflowTaskFailure",
        "expr": "airflow_task_failures_total > 0",
        "for": "5m",
        "labels": {"severity": "critical"},
        "annotations": {
            "summary": "Airflow task failure detected",
            "description": "Job {{ $labels.dag_id }} failed {{ $value }} times",
        },
    }
    operator = yaml.safe_load((COMPONENTS / "monitoring-operator" / "rules.yaml").read_text(encoding="utf-8"))
    assert operator["kind"] == "PrometheusRule"
    assert operator["spec"] == rules


def test_rules_and_panels_use_metrics_that_the_mapping_makes() -> None:
    folder = COMPONENTS / "monitoring"
    mapping = yaml.safe_load((folder / "statsd-mapping.yml").read_text(encoding="utf-8"))["mappings"]
    assert (mapping[-1]["match"], mapping[-1]["action"]) == (".", "drop")
    made = {entry["name"] for entry in mapping[:-1]}
    dashboard = json.loads((folder / "dashboards" / "airflow.json").read_text(encoding="utf-8"))
    assert {"Airflow DAG Duration", "Scheduler Heartbeat"} <= {panel["title"] for panel in dashboard["panels"]}
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((folder / "rules.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    for query in (*queries, *(rule["expr"] for rule in rules)):
        assert any(name in query for name in made), query


def test_lineage_goes_to_marquez_unless_the_user_says_otherwise(project_folder: Path) -> None:
    kustomization, written = overlay(project_folder, Settings(components=("lineage",)))
    assert kustomization["components"] == ["minikube/components/lineage"]
    openlineage = options(written)["openlineage"]
    assert json.loads(openlineage["transport"])["url"] == "http://marquez:5000"
    # Without these, the provider that the published images of 2.7 have sends nothing of tasks.
    assert (openlineage["config_path"], openlineage["disabled_for_operators"]) == ("", "")
    console: dict[str, dict[str, Any]] = {"openlineage": {"transport": '{"type": "console"}'}}
    for components in (("lineage",), ()):
        _, written = overlay(project_folder, Settings(components=components, airflow=AirflowSettings(config=console)))
        openlineage = options(written)["openlineage"]
        assert json.loads(openlineage["transport"]) == {"type": "console"}
        assert openlineage["config_path"] == ""


def test_each_entry_of_the_table_names_what_there_is() -> None:
    kustomized = {path.name for path in COMPONENTS.iterdir() if (path / "kustomization.yaml").exists()}
    assert set(BY_NAME) <= kustomized
    settings = Settings()
    for component in ALL:
        assert set(component.images) <= set(dict(settings.images)), component.name
        assert {page_name(workload) for workload in component.pages} <= set(dict(settings.ports)), component.name
        assert set(component.pages) <= set(component.workloads), component.name
    for component in OPTIONAL:
        documents = [
            document
            for path in sorted((COMPONENTS / component.name).glob("*.yaml"))
            for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
            if document and document["kind"] in ("Deployment", "StatefulSet") and "containers" in str(document)
        ]
        own = {document["metadata"]["name"] for document in documents if document["apiVersion"] == "apps/v1"}
        assert own <= set(WORKLOADS), f"{component.name} has pods that `devenv logs` does not know"
