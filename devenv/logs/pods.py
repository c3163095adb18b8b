"""The logs of the platform's pods and of task pods, as they come, restart and go."""

from __future__ import annotations

import calendar
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devenv.cluster.errors import ClusterError, ClusterUnreachable
from devenv.cluster.objects import Object, component_of, container_statuses
from devenv.cluster.streams import Stop, Stream
from devenv.events import LogLine, Notice, Reporter, silent
from devenv.foreign_text import clean
from devenv.logs.merge import Merger, in_order

if TYPE_CHECKING:
    from devenv.backends.base import LogQuery
    from devenv.cluster.connection import Cluster

TASK = "task"
"""What task pods are called among the components."""

_LINE_LIMIT = 16_000
_STAMP = re.compile(rb"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")


@dataclass(frozen=True)
class _Container:
    """One life of a container: a restart makes another."""

    component: str
    pod: str
    uid: str
    name: str
    restarts: int
    running: bool
    alone: bool
    """Whether it is the only container of its pod."""

    @property
    def life(self) -> tuple[str, str, int]:
        return (self.uid, self.name, self.restarts)

    @property
    def source(self) -> str:
        return self.pod if self.alone else f"{self.pod}/{self.name}"


def pod_logs(
    cluster: Cluster,
    namespace: str,
    query: LogQuery,
    *,
    scrub: Callable[[str], str] = lambda text: text,
    report: Reporter = silent,
) -> Iterator[LogLine]:
    """The lines of the chosen components' containers in a namespace, in time order.

    A component is what the label `app.kubernetes.io/component` says; task pods are the component `task`. Without
    `follow`, a container that restarted also gives the lines of its life before. With it, pods and restarts are
    followed as they come, and a connection that breaks is made again without losing or repeating a line, until
    the iterator is closed.

    Args:
        cluster: where.
        namespace: of the platform.
        query: which lines; `tail` counts per container.
        scrub: takes secrets out of a line.
        report: is told when the connection is lost.

    Raises:
        ClusterError: the cluster does not answer at the start, or denies it.
    """
    reader = _Reader(cluster, namespace, query, scrub)
    return reader.follow(report) if query.follow else reader.read()


def _component(pod: Object) -> str:
    labels = pod.get("metadata", {}).get("labels") or {}
    if "dag_id" in labels or "kubernetes_executor" in labels:  # Airflow labels each task pod so
        return TASK
    return component_of(pod)


def _containers(pod: Object, wanted: tuple[str, ...]) -> Iterator[_Container]:
    """The containers of a pod that have written, or may have."""
    component = _component(pod)
    if not component or (wanted and component not in wanted):
        return
    found = container_statuses(pod)
    for container in found:
        state = container.get("state") or {}
        restarts = int(container.get("restartCount") or 0)
        # One that waits to be started again has its last life's log under its present number.
        if "running" in state or "terminated" in state or (container.get("lastState") or {}).get("terminated"):
            yield _Container(
                component=component,
                pod=pod["metadata"]["name"],
                uid=pod["metadata"]["uid"],
                name=container["name"],
                restarts=restarts,
                running="running" in state,
                alone=len(found) == 1,
            )


class _Reader:
    def __init__(self, cluster: Cluster, namespace: str, query: LogQuery, scrub: Callable[[str], str]) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._query = query
        self._scrub = scrub
        self._streams: set[Stream] = set()
        self._lock = threading.Lock()
        self._stop = Stop()

    # --- once ---

    def read(self) -> Iterator[LogLine]:
        pods = self._cluster.list("Pod", self._namespace)
        found = [container for pod in pods for container in _containers(pod, self._query.components)]
        wanted = [(item, False) for item in found] + [(item, True) for item in found if item.restarts and item.running]
        with ThreadPoolExecutor(max_workers=8, thread_name_prefix="log") as pool:
            opened = list(pool.map(lambda pair: self._open(pair[0], previous=pair[1]), wanted))
        try:
            yield from in_order(
                self._lines(container, stream)
                for (container, _previous), stream in zip(wanted, opened, strict=True)
                if stream is not None
            )
        finally:
            self._close()

    def _open(self, container: _Container, *, previous: bool) -> Stream | None:
        return self._stream(
            container, previous=previous, tail=self._query.tail, since_seconds=self._query.since_seconds
        )

    # --- following ---

    def follow(self, report: Reporter) -> Iterator[LogLine]:
        self._cluster.list("Pod", self._namespace, fields="metadata.name=none")  # an error now, not in a thread
        merger = Merger()
        watcher = threading.Thread(target=self._watch, args=(merger, report), name="log-pods", daemon=True)
        watcher.start()
        try:
            yield from merger
        finally:
            merger.close()
            self._stop()
            self._close()
            watcher.join(5)

    def _watch(self, merger: Merger, report: Reporter) -> None:
        lives: set[tuple[str, str, int]] = set()
        first = {item["metadata"]["uid"] for item in self._safe_list()}
        wait = 0.5
        while not self._stop.called:
            try:
                for event, pod in self._cluster.watch("Pod", self._namespace, stop=self._stop):
                    wait = 0.5
                    if event == "DELETED":
                        continue
                    for container in _containers(pod, self._query.components):
                        if container.life not in lives:
                            lives.add(container.life)
                            merger.add(self._source(container, from_start=container.uid not in first))
                    first.discard(pod["metadata"]["uid"])
                return
            except ClusterUnreachable as error:
                report(Notice("warning", f"logs: the connection is lost, trying again: {error.message}"))
                _pause(self._stop, wait)
                wait = min(wait * 2, 5.0)
            except ClusterError as error:
                merger.fail(error)
                return

    def _safe_list(self) -> list[Object]:
        try:
            return self._cluster.list("Pod", self._namespace)
        except ClusterError:
            return []  # the watch says why

    def _source(self, container: _Container, *, from_start: bool) -> Callable[[], Iterator[LogLine]]:
        """A life of a container, from its start for one that came while we look."""
        tail = None if from_start else self._query.tail
        since = None if from_start else self._query.since_seconds

        def open_source() -> Iterator[LogLine]:
            stream = self._stream(container, follow=True, tail=tail, since_seconds=since)
            return self._follow_life(container, stream)

        return open_source

    def _follow_life(self, container: _Container, stream: Stream | None) -> Iterator[LogLine]:
        shown = 0
        while stream is not None:
            shown_before = shown
            came = time.monotonic()
            for nanoseconds, text in _stamped(stream):
                if shown_before and nanoseconds <= shown_before:
                    continue
                shown = max(shown, nanoseconds)
                came = time.monotonic()
                yield self._line(container, nanoseconds, text)
            self._forget(stream)
            stream = self._reopen(container, came)

    def _reopen(self, container: _Container, came: float) -> Stream | None:
        """The log again from the last line on, where it ended because the connection broke; None at its true end.

        Asked for by the time that passed here, because the node's clock may differ from this one's.
        """
        wait = 0.5
        while not self._stop.called:
            try:
                pod = self._cluster.get("Pod", container.pod, self._namespace)
                alive = [] if pod is None else [item for item in _containers(pod, ()) if item.life == container.life]
                if not any(item.running for item in alive):
                    return None
                passed = time.monotonic() - came + 5
                return self._stream(container, follow=True, tail=None, since_seconds=passed)
            except ClusterError:  # noqa: PERF203 (trying again is the point)
                _pause(self._stop, wait)
                wait = min(wait * 2, 5.0)
        return None

    # --- streams ---

    def _stream(
        self,
        container: _Container,
        *,
        follow: bool = False,
        previous: bool = False,
        tail: int | None,
        since_seconds: float | None,
    ) -> Stream | None:
        """The log of a container; None when it is gone or has none."""
        try:
            stream = self._cluster.logs(
                container.pod,
                self._namespace,
                container.name,
                follow=follow,
                previous=previous,
                tail=tail,
                since_seconds=since_seconds,
                timestamps=True,
            )
        except ClusterUnreachable:
            raise
        except ClusterError as error:
            if error.status in (400, 404, 500):  # not started, gone, or its log was rotated away
                return None
            raise
        with self._lock:
            self._streams.add(stream)
        if self._stop.called:
            stream.close()
        return stream

    def _forget(self, stream: Stream) -> None:
        with self._lock:
            self._streams.discard(stream)

    def _close(self) -> None:
        with self._lock:
            streams = list(self._streams)
            self._streams.clear()
        for stream in streams:
            stream.close()

    def _lines(self, container: _Container, stream: Stream) -> Iterator[LogLine]:
        for nanoseconds, text in _stamped(stream):
            yield self._line(container, nanoseconds, text)

    def _line(self, container: _Container, nanoseconds: int, text: str) -> LogLine:
        return LogLine(container.component, container.source, nanoseconds / 1e9, self._scrub(text))


def _stamped(stream: Stream) -> Iterator[tuple[int, str]]:
    """Lines with their times in nanoseconds; one that the node cut in pieces keeps the time of its first piece."""
    last = 0
    for line in stream:
        found = _STAMP.match(line)
        if found:
            last = _nanoseconds(found)
        text = line[found.end() :] if found else line
        yield last, clean(text.decode("utf-8", "replace").rstrip("\r\n"), _LINE_LIMIT)


def _nanoseconds(found: re.Match[bytes]) -> int:
    year, month, day, hour, minute, second = (int(found.group(number)) for number in range(1, 7))
    seconds = calendar.timegm((year, month, day, hour, minute, second))
    zone = found.group(8).decode()
    if zone != "Z":
        offset = int(zone[1:3]) * 3600 + int(zone[4:6]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return seconds * 1_000_000_000 + int((found.group(7) or b"0").ljust(9, b"0"))


def _pause(stop: Stop, seconds: float) -> None:
    """Waits before another attempt, not longer than until the stop."""
    end = time.monotonic() + seconds
    while not stop.called and time.monotonic() < end:
        time.sleep(0.05)
