"""Which pods run with old secrets, from what their init containers left in their status."""

import json
from typing import Any

from devenv.vault import programs
from devenv.vault.staleness import StalePod, fetched_revisions, stale_pods


class Held:
    """Just what `stale_pods` asks of a Vault."""

    def __init__(self, secrets: dict[str, dict[str, str]]) -> None:
        self.secrets = {programs.load("fetch_secrets").REVISION_KEY_PATH: {"key": "k"}, **secrets}

    def read(self, path: str) -> dict[str, str] | None:
        return self.secrets.get(path)


def pod(
    name: str, component: str, message: str, owner: dict[str, str] | None, phase: str = "Running"
) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": component, "pod-template-hash": "5c7f"}
    terminated = {"exitCode": 0, "message": message}
    return {
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner] if owner else []},
        "status": {"phase": phase, "initContainerStatuses": [{"name": "secrets", "state": {"terminated": terminated}}]},
    }


def noted(secrets: dict[str, dict[str, str]]) -> str:
    revision = programs.load("fetch_secrets").revision
    return json.dumps({"revisions": {path: revision("k", values) for path, values in secrets.items()}})


def test_only_pods_that_fetched_another_content_are_stale() -> None:
    old, new = {"PASSWORD": "old"}, {"PASSWORD": "new"}
    other = {"TOKEN": "same"}
    deployment = {"kind": "ReplicaSet", "name": "scheduler-5c7f"}
    pods = [
        pod("scheduler-5c7f-x", "scheduler", noted({"kyuubi/database": old, "slack/webhook": other}), deployment),
        pod("triggerer-5c7f-x", "triggerer", noted({"kyuubi/database": new}), {"kind": "ReplicaSet", "name": "t-5c7f"}),
        pod("postgres-0", "postgres", noted({"kyuubi/database": old}), {"kind": "StatefulSet", "name": "postgres"}),
        pod("run-1", "task", noted({"kyuubi/database": old}), None),
        pod("run-0", "task", noted({"kyuubi/database": old}), None, phase="Succeeded"),
        pod("failing", "agent", "nothing is at the path secret/x in Vault", None),
    ]
    store = Held({"kyuubi/database": new, "slack/webhook": other})
    assert stale_pods(pods, store) == [  # type: ignore[arg-type]
        StalePod("scheduler-5c7f-x", "scheduler", ("kyuubi/database",), ("Deployment", "scheduler")),
        StalePod("postgres-0", "postgres", ("kyuubi/database",), ("StatefulSet", "postgres")),
        StalePod("run-1", "task", ("kyuubi/database",), None),
    ]


def test_a_pod_that_fetched_nothing_yet_has_no_revisions() -> None:
    assert fetched_revisions({"status": {}}) == {}
    assert (
        fetched_revisions({"status": {"initContainerStatuses": [{"name": "secrets", "state": {"running": {}}}]}}) == {}
    )


def test_a_revision_tells_nothing_without_its_key() -> None:
    revision = programs.load("fetch_secrets").revision
    assert revision("k", {"A": "1", "B": "2"}) == revision("k", {"B": "2", "A": "1"})
    assert revision("k", {"A": "1"}) != revision("other", {"A": "1"})
