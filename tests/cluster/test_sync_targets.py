"""The conformance suite on the targets that need a cluster; see `tests/contract/test_targets.py` for the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.sync.loop import SyncLoop
from devenv.sync.targets.configmap import ForeignConfigMap
from tests.support.conformance import CASES, Case, World
from tests.support.sync import Events, project_at
from tests.support.volume import (
    InConfigMap,
    OverKubectlCopy,
    OverKubectlExec,
    OverWebSocket,
    Volume,
    digest,
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


def test_a_pod_that_mounts_the_configmap_sees_it_soon(volume: Volume, tmp_path: Path) -> None:
    """Any DAG folder: here the one of a chart that has its DAGs in `helm/tools/dags`."""
    project = project_at(tmp_path, dags="helm/tools/dags")
    project.dag_folder.mkdir(parents=True)
    dag = project.dag_folder / "dag.py"
    dag.write_text("version = 1")
    place = InConfigMap(volume)
    SyncLoop(project, place.open, Events()).once()
    volume.make_configmap_reader("airflow-dags")
    try:
        for version in (1, 2, 3):
            dag.write_text(f"version = {version}")
            assert SyncLoop(project, place.open, Events()).once().in_step
            expected = {"dags/dag.py": (digest(dag), False)}
            wait_for(lambda want=expected: volume.held("mounts-configmap") == want, "the kubelet's look", 100)
        dag.write_text(
            "from datetime import datetime\nfrom airflow import DAG\nDAG('mounted', start_date=datetime(2024, 1, 1))"
        )
        assert SyncLoop(project, place.open, Events()).once().in_step
        expected = {"dags/dag.py": (digest(dag), False)}
        wait_for(lambda: volume.held("mounts-configmap") == expected, "the kubelet's look", 100)
        look = "from airflow.models import DagBag; b = DagBag('/opt/airflow/dags/..data', include_examples=False)"
        found = volume.run("mounts-configmap", ["python", "-c", f"{look}; print(b.dag_ids, b.import_errors)"])
        assert found.decode().splitlines()[-1] == "['mounted'] {}"
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
