"""What arrives from the API server over time: lines of a log, changes of objects."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from devenv.cluster.objects import Object, Objects

if TYPE_CHECKING:
    import urllib3

WatchEvent = tuple[Literal["ADDED", "MODIFIED", "DELETED"], Object]

_WATCH_SECONDS = 300.0
"""How long one watch request lives at the server before it is made anew."""


class Stream:
    """Lines that arrive from the API server as they are written; closing it, from any thread, ends the reading."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        """Lines without their end; stops when the server ends the stream, breaks it, or `close` is called."""
        import urllib3

        buffer = bytearray()
        try:
            while not self._closed.is_set():
                chunk = self._response.read1(65536)
                if not chunk:
                    break
                buffer += chunk
                *lines, rest = bytes(buffer).split(b"\n")
                buffer = bytearray(rest)
                yield from lines
            if buffer and not self._closed.is_set():
                yield bytes(buffer)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError):
            return  # broken off, or closed under the reader: the caller looks again, and then sees why
        finally:
            self._release()

    def close(self) -> None:
        """Ends the stream, also while another thread waits in it; never raises."""
        self._closed.set()
        with contextlib.suppress(Exception):
            self._response.shutdown()

    def _release(self) -> None:
        with contextlib.suppress(Exception):
            self._response.close()


class Stop:
    """Ends a `watch` from another thread."""

    def __init__(self) -> None:
        self.called = False
        self._lock = threading.Lock()
        self._stream: Stream | None = None

    def add(self, stream: Stream) -> None:
        """The stream that is being read now; closed at once when stop was called already."""
        with self._lock:
            self._stream = stream
            called = self.called
        if called:
            stream.close()

    def __call__(self) -> None:
        """Ends the watch; may be called more than once."""
        with self._lock:
            self.called = True
            stream = self._stream
        if stream is not None:
            stream.close()


def watch_objects(
    *,
    list_all: Callable[[], tuple[Objects, str]],
    open_stream: Callable[[str, float], Stream],
    timeout: float | None,
    stop: Stop,
) -> Iterator[WatchEvent]:
    """The loop of `Cluster.watch`: list, then follow the changes from there, again and again.

    Args:
        list_all: all objects and the version of the list.
        open_stream: the changes since a version, for so many seconds.
        timeout: seconds after which it ends; None for never.
        stop: ends it from another thread.
    """
    end = None if timeout is None else time.monotonic() + timeout
    known: dict[str, Object] = {}
    version = ""
    while not stop.called:
        if not version:
            items, version = list_all()
            yield from _differences(known, items)
        left = _WATCH_SECONDS if end is None else min(_WATCH_SECONDS, end - time.monotonic())
        if left <= 0:
            return
        stream = open_stream(version, left)
        stop.add(stream)
        try:
            for line in stream:
                change = json.loads(line)
                kind, item = change["type"], change["object"]
                if kind == "ERROR":
                    version = ""  # 410 Gone, or another reason to look at everything again
                    break
                version = item["metadata"]["resourceVersion"]
                if kind == "BOOKMARK":
                    continue
                if kind == "DELETED":
                    known.pop(item["metadata"]["uid"], None)
                else:
                    known[item["metadata"]["uid"]] = item
                yield kind, item
        finally:
            stream.close()


def _differences(known: dict[str, Object], items: Objects) -> Iterator[WatchEvent]:
    """What a new list tells beyond what was known, which is brought up to date."""
    now = {item["metadata"]["uid"]: item for item in items}
    for uid in set(known) - set(now):
        yield "DELETED", known.pop(uid)
    for uid, item in now.items():
        before = known.get(uid)
        if before is None or before["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
            known[uid] = item
            yield "ADDED" if before is None else "MODIFIED", item
