"""Secrets that are taken from Secrets and ConfigMaps of another cluster's namespace, by the name of its context."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv.cluster.connection import Cluster
from devenv.environment import Environment
from tests.support.program import Program
from tests.support.volume import running_profile

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

NAMESPACE = "pull-test"
DATA = {"AIRFLOW_CONN_WAREHOUSE": "postgresql://u:p@db/x", "AIRFLOW_VAR_REGION": "eu", "TOKEN": "t"}


@pytest.fixture
def context() -> Iterator[str]:
    """A cluster with a Secret and a ConfigMap, as a deployed Airflow has them."""
    name = running_profile()
    cluster = Cluster.open(name, Environment())
    place = {"name": "airflow-env", "namespace": NAMESPACE}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in DATA.items()}
    cluster.apply(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": place, "data": encoded},
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": place, "data": {"AIRFLOW_VAR_STAGE": "dev"}},
        ]
    )
    yield name
    cluster.delete("Namespace", NAMESPACE, wait_seconds=120)


def test_a_secret_and_a_configmap_are_taken(context: str, tmp_path: Path) -> None:
    (tmp_path / "shop/dags").mkdir(parents=True)
    (tmp_path / "shop/devenv.toml").write_text('backend = "local"\n[vault]\npull = ["*"]\n')
    program = Program((sys.executable, "-m", "devenv"), tmp_path / "shop", {"DEVENV_DATA": str(tmp_path / "data")})
    program.run("secrets", "pull", f"configmap:{context}/{NAMESPACE}/airflow-env", "--yes")
    said = program.run("secrets", "pull", f"secret:{context}/{NAMESPACE}/airflow-env", "--yes")
    assert "left: TOKEN: it is no AIRFLOW_CONN_ and no AIRFLOW_VAR_; --path says where it goes" in said
    program.run("secrets", "pull", f"secret:{context}/{NAMESPACE}/airflow-env", "--path", "team/reader", "--yes")
    found = {
        name: program.run("secrets", "get", *name.split(), "--reveal").strip()
        for name in ("connection warehouse", "variable region", "variable stage", "team/reader TOKEN")
    }
    assert list(found.values()) == ["postgresql://u:p@db/x", "eu", "dev", "t"]
    (missing,) = program.json("secrets", "pull", f"secret:{context}/{NAMESPACE}/other", code=None)
    assert missing.data["code"] == "DEVENV-613"
    (unknown,) = program.json("secrets", "pull", "secret:nowhere/airflow/x", code=None)
    assert unknown.data["exit_code"] == 2
