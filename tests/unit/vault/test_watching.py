"""What a person is told when Vault's pod is restarted while devenv watches."""

from typing import Any

from devenv.events import Event, Notice
from devenv.vault.watching import VaultWatch


def pod(container: str, *, ready: bool = True, running: bool = True, deleted: bool = False) -> dict[str, Any]:
    state = {"running": {}} if running else {"terminated": {"exitCode": 137}}
    metadata: dict[str, Any] = {"labels": {"app.kubernetes.io/component": "vault"}}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    statuses = [{"name": "vault", "containerID": container, "state": state, "ready": ready}]
    return {"metadata": metadata, "status": {"containerStatuses": [*statuses, {"name": "seeder", "ready": ready}]}}


def told(*events: tuple[str, dict[str, Any]]) -> list[str]:
    heard: list[Event] = []
    watch = VaultWatch(heard.append)
    for event, item in events:
        watch.see(event, item)
    return [each.level for each in heard if isinstance(each, Notice)]


def test_a_start_is_no_news() -> None:
    assert (
        told(("ADDED", {"metadata": {}, "status": {}}), ("MODIFIED", pod("a", ready=False)), ("MODIFIED", pod("a")))
        == []
    )


def test_a_killed_process_and_a_deleted_pod_are_told_once_each() -> None:
    killed = [("MODIFIED", pod("a", running=False, ready=False)), ("MODIFIED", pod("b", ready=False))]
    deleted = [("MODIFIED", pod("b", deleted=True)), ("DELETED", pod("b", deleted=True))]
    again = [("ADDED", pod("c", ready=False)), ("MODIFIED", pod("c"))]
    assert told(("ADDED", pod("a")), *killed, ("MODIFIED", pod("b")), *deleted, *again) == ["warning", "info"] * 2
