"""What the scheduler could not store or start, as far as it needs no Airflow."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from devenv.agent.stored import executor_config


@pytest.mark.parametrize("in_a_pod", [True, False])
def test_a_pod_template_that_does_not_exist(in_a_pod: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    if in_a_pod:  # elsewhere the image's files are not seen
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    there = tmp_path / "pod.yaml"
    there.touch()
    found = {
        path: [
            refusal.message
            for refusal in executor_config(SimpleNamespace(task_id="go", executor_config={"pod_template_file": path}))
        ]
        for path in ("/nowhere.yaml", str(there))
    }
    missing = [
        "executor_config of task 'go' has the pod_template_file /nowhere.yaml, which Airflow's image does not have"
    ]
    assert found == {"/nowhere.yaml": missing if in_a_pod else [], str(there): []}
