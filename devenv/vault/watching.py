"""Notices, while devenv watches, that the dev Vault was restarted and that it is back; the seeder does the work."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from devenv.errors import DevenvError
from devenv.events import Notice, Reporter

if TYPE_CHECKING:
    from devenv.cluster.connection import Cluster
    from devenv.cluster.streams import Stop

_RETRY_SECONDS = 3.0


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
        """One event of the watch."""
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
            self._report(Notice("info", "Vault is back, with all its secrets"))

    def _lost(self) -> None:
        if not self._away and self._instance:
            self._away = True
            self._report(
                Notice("warning", "Vault was restarted, and has forgotten everything; it is being seeded again")
            )


@contextlib.contextmanager
def vault_watched(cluster: Cluster | None, namespace: str, report: Reporter) -> Iterator[None]:
    """Tells of Vault's restarts for as long as the context is open; nothing without a cluster."""
    if cluster is None:
        yield
        return
    from devenv.cluster.streams import Stop

    stop = Stop()
    watch = VaultWatch(report)
    thread = threading.Thread(target=_follow, args=(cluster, namespace, watch, stop), name="vault", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop()


def _follow(cluster: Cluster, namespace: str, watch: VaultWatch, stop: Stop) -> None:
    pause = threading.Event()
    while not stop.called:
        try:
            for event, pod in cluster.watch("Pod", namespace, labels="app.kubernetes.io/component=vault", stop=stop):
                watch.see(event, pod)
        except DevenvError:  # noqa: PERF203 (rare)
            pause.wait(_RETRY_SECONDS)  # the cluster is away, of which the sync loop tells
