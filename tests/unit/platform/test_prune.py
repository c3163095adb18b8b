"""What an earlier `up` applied and this one does not is deleted; nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from devenv.environment import Environment
from devenv.minikube.backend import MinikubeBackend
from devenv.project import Project
from devenv.settings.schema import Settings


class Cluster:
    """Has the Services of an environment with 2.x, and notes what is deleted."""

    def __init__(self) -> None:
        self.deleted: list[tuple[str, str]] = []

    def list(self, kind: str, namespace: str, *, labels: str) -> list[dict[str, Any]]:
        assert (namespace, labels.partition("=")[0]) == ("airflow", "devenv.io/environment")
        applied = {"devenv.io/applied": "0123"}
        there = {
            "Service": [("webserver", applied), ("postgres", applied), ("of-a-person", {})],
            "Deployment": [("webserver", applied)],
        }
        return [{"metadata": {"name": name, "annotations": notes}} for name, notes in there.get(kind, [])]

    def delete(self, kind: str, name: str, namespace: str) -> None:
        assert namespace == "airflow"
        self.deleted.append((kind, name))


@pytest.fixture
def backend(project_folder: Path, monkeypatch: pytest.MonkeyPatch) -> MinikubeBackend:
    project = Project(folder=project_folder, settings=Settings(), environment=Environment())
    backend = MinikubeBackend(project, "asked for", lambda event: None)
    wanted = [{"kind": "Service", "metadata": {"name": name}} for name in ("api-server", "postgres")]
    monkeypatch.setattr(backend, "objects", lambda: wanted)
    return backend


def test_a_service_can_go_before_what_follows_it(backend: MinikubeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Webserver and api-server want the same port of the node, so one must be gone before the other is applied."""
    cluster = Cluster()
    monkeypatch.setattr(backend, "cluster", lambda: cluster)
    backend.prune(("Service",))
    assert cluster.deleted == [("Service", "webserver")]


def test_all_kinds_go_at_the_end(backend: MinikubeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    monkeypatch.setattr(backend, "cluster", lambda: cluster)
    backend.prune()
    assert cluster.deleted == [("Deployment", "webserver"), ("Service", "webserver")]
