"""Follows the pods of a namespace while devenv watches, and shows each change to those who want to know."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

from devenv.cluster.connection import Cluster
from devenv.cluster.objects import Object
from devenv.cluster.streams import Stop
from devenv.errors import DevenvError

_RETRY_SECONDS = 3.0


class PodObserver(Protocol):
    """Somebody who wants to know what becomes of pods."""

    def see(self, event: str, pod: Object) -> None:
        """One change: "ADDED" (also for what was there), "MODIFIED" or "DELETED"; must be quick."""

    def close(self) -> None:
        """No more will be shown."""


@contextlib.contextmanager
def pods_watched(cluster: Cluster, namespace: str, observers: Sequence[PodObserver]) -> Iterator[None]:
    """Shows the observers all pods of a namespace, for as long as the context is open.

    A cluster that is away is asked again until it is back; the sync loop tells of it.
    """
    stop = Stop()
    pause = threading.Event()

    def follow() -> None:
        while not stop.called:
            try:
                for event, pod in cluster.watch("Pod", namespace, stop=stop):
                    for observer in observers:
                        observer.see(event, pod)
            except DevenvError:  # noqa: PERF203 (rare)
                pause.wait(_RETRY_SECONDS)

    threading.Thread(target=follow, name="pods", daemon=True).start()
    try:
        yield
    finally:
        stop()
        pause.set()
        for observer in observers:
            observer.close()
