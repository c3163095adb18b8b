"""Notices, while devenv watches, that the dev Vault was restarted and that it is back; the seeder does the work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devenv.cluster.objects import component_of
from devenv.events import Notice, Reporter


class VaultWatch:
    """What the person is told about Vault's pod, from the events of a watch.

    Args:
        report: takes the notices.
    """

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._instance = ""
        self._away = False

    def see(self, event: str, pod: Mapping[str, Any]) -> None:
        """One change of a pod; those of others than Vault are passed over."""
        if component_of(pod) != "vault":
            return
        if event == "DELETED" or pod["metadata"].get("deletionTimestamp"):
            self._lost()
            return
        statuses = pod.get("status", {}).get("containerStatuses") or []
        vault = next((status for status in statuses if status["name"] == "vault"), None)
        if vault is None or "running" not in (vault.get("state") or {}):
            if self._instance:
                self._lost()
            return
        instance = str(vault.get("containerID", ""))
        if self._instance and instance != self._instance:
            self._lost()
        self._instance = instance
        ready = all(status.get("ready") for status in statuses)
        if self._away and ready:
            self._away = False
            self._report(Notice("info", "Vault is back, with all secrets that were kept"))

    def close(self) -> None:
        """Nothing is kept that would have to end."""

    def _lost(self) -> None:
        if not self._away and self._instance:
            self._away = True
            self._report(
                Notice("warning", "Vault was restarted, and has forgotten everything; it is being seeded again")
            )
