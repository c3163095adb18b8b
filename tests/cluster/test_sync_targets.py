"""The conformance suite on the targets that need a cluster; see `tests/contract/test_targets.py` for the others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.resources import sample_dags_folder
from devenv.sync.loop import SyncLoop
from devenv.sync.targets.configmap import ForeignConfigMap
from tests.support.conformance import CASES, Case, World
from tests.support.sync import Events, project_at, tree
from tests.support.volume import (
    InConfigMap,
    OverKubectlCopy,
    OverKubectlExec,
    OverWebSocket,
    Volume,
    volume_in,
    wait_for,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def volume() -> Iterator[Volume]:
    with volume_in("sync-targets") as made:
        yield made


@pytest.fixture(
    params=[
        pytest.param(OverWebSocket, marks=pytest.mark.main),
        OverKubectlExec,
        OverKubectlCopy,
        InConfigMap,
    ],
    ids=lambda kind: kind.__name__,
)
def world(request: pytest.FixtureRequest, volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(project_at(tmp_path), request.param(volume), monkeypatch)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_conformance(case: Case, world: World) -> None:
    case(world)


def test_a_pod_has_the_whole_folder_from_the_configmap_and_sees_each_change_soon(
    volume: Volume, tmp_path: Path
) -> None:
    """The samples, folders included, and a DAG folder of any name: here of a chart with `helm/tools/dags`."""
    project = project_at(tmp_path, dags="helm/tools/dags")
    shutil.copytree(sample_dags_folder(), project.dag_folder, ignore=shutil.ignore_patterns("__pycache__"))
    (project.dag_folder / "run.sh").write_text("echo")
    (project.dag_folder / "run.sh").chmod(0o755)
    place = InConfigMap(volume)
    SyncLoop(project, place.open, Events()).once()
    volume.make_configmap_reader()

    def same() -> bool:
        return volume.held("mounts-configmap") == tree(tmp_path / "helm" / "tools")

    try:
        assert same()  # by the init container
        assert "dags/config/sales.yaml" in volume.held("mounts-configmap")
        for version in (1, 2, 3):
            queries = project.dag_folder / "team" / "queries"
            queries.mkdir(parents=True, exist_ok=True)
            (queries / f"new{version}.sql").write_text(f"select {version}")
            (queries / f"new{version - 1}.sql").unlink(missing_ok=True)
            (project.dag_folder / "own.py").write_text(f"version = {version}")
            assert SyncLoop(project, place.open, Events()).once().in_step
            wait_for(same, "the kubelet's look", 100)
        look = "from airflow.models import DagBag; b = DagBag(include_examples=False)"
        look += "; print(b.import_errors, len(b.dag_ids) > 5)"
        found = volume.run("mounts-configmap", ["python", "-c", look])
        assert found.decode().splitlines()[-1] == "{} True"
    finally:
        volume.delete_pod("mounts-configmap")


@pytest.mark.main
def test_a_configmap_of_somebody_else_is_not_overwritten(volume: Volume, tmp_path: Path) -> None:
    place = InConfigMap(volume)
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "airflow-dags"}, "data": {"a.py": "theirs"}}
    theirs["metadata"]["namespace"] = volume.namespace
    volume.cluster.apply([theirs])
    project = project_at(tmp_path)
    (project.dag_folder / "a.py").write_text("ours")
    with pytest.raises(ForeignConfigMap):
        SyncLoop(project, place.open, Events()).once()
    assert volume.cluster.get("ConfigMap", "airflow-dags", volume.namespace)["data"] == {"a.py": "theirs"}
