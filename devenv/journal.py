"""What a watch has seen, in a file: so that `devenv ui` beside it, and after it, can show it.

The file lies in `.devenv/` (0600): it holds lines of DAG files, and may be deleted at any time. It is written anew
when it has grown, with what was said last of each DAG file and the times of the last saves, so it stays small.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from devenv.events import (
    TYPES,
    BatchSynced,
    ConnectionChanged,
    Event,
    FileSynced,
    PickedUp,
    VerdictCleared,
    VerdictReached,
    WatchStarted,
    data_of,
)
from devenv.foreign_text import json_safe

Line = dict[str, Any]
"""`at` (seconds since the epoch), `type` (as in `devenv.events.TYPES`) and `data`."""

_NAME = "watch.jsonl"
_KEPT = (WatchStarted, FileSynced, BatchSynced, VerdictReached, VerdictCleared, PickedUp, ConnectionChanged)
_TIMES = {TYPES[FileSynced], TYPES[BatchSynced], TYPES[PickedUp]}
_TIMES_LIMIT = 2000
_GROWTH_LIMIT = 4 * 1024 * 1024


def journal_file(state_folder: Path) -> Path:
    """Where the journal of the project with this state folder is."""
    return state_folder / _NAME


def files_that_make(state_folder: Path, dag_id: str) -> list[str]:
    """The DAG files that have this DAG by their last verdict, as `dags/team/etl.py`: also one made in a loop."""
    dags: dict[str, list[str]] = {}
    for line in JournalReader(journal_file(state_folder)).fresh()[1]:
        data = line["data"]
        if line["type"] == TYPES[VerdictReached] and data["speaker"] == "agent":
            dags[data["file"]] = data["dag_ids"]
        elif line["type"] == TYPES[VerdictCleared]:
            dags.pop(data["path"], None)
    return sorted(file for file, dag_ids in dags.items() if dag_id in dag_ids)


class Journal:
    """Writes the journal of one watch; the times of earlier ones stay in it. Used by the holder of the watch's lock."""

    def __init__(self, state_folder: Path, now: Callable[[], float], growth: int = _GROWTH_LIMIT) -> None:
        """Writes the file anew.

        Args:
            state_folder: `.devenv/`, which exists.
            now: seconds since the epoch.
            growth: bytes after which the file is written anew.
        """
        self._path = journal_file(state_folder)
        self._now = now
        self._growth = growth
        self._lock = threading.Lock()
        self._verdicts: dict[tuple[str, str], str] = {}
        self._session: dict[str, str] = {}
        former = JournalReader(self._path).fresh()[1]
        times = [line for line in former if line["type"] in _TIMES or line["data"].get("milliseconds_since_save")]
        self._times: deque[str] = deque(map(_text, times), maxlen=_TIMES_LIMIT)
        self._file = -1
        self._grown = 0
        with contextlib.suppress(
            OSError
        ):  # a full disk is not to end the watch; the loop says what it means for syncing
            self._write_anew()

    def report(self, event: Event) -> None:
        """The `Reporter` of the journal."""
        if not isinstance(event, _KEPT):
            return
        line = _text({"at": self._now(), "type": TYPES[type(event)], "data": data_of(event)})
        with self._lock, contextlib.suppress(OSError):
            self._remember(event, line)
            if self._file < 0:
                return
            self._grown += os.write(self._file, line.encode())
            if self._grown > self._growth:
                self._write_anew()

    def close(self) -> None:
        """Ends writing; the file stays."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _remember(self, event: Event, line: str) -> None:
        if isinstance(event, VerdictReached):
            self._verdicts[event.verdict.file, event.verdict.speaker] = line
        elif isinstance(event, VerdictCleared):
            for speaker in ("agent", "scheduler", "check"):
                self._verdicts.pop((event.path, speaker), None)
        elif isinstance(event, (WatchStarted, ConnectionChanged)):
            self._session[type(event).__name__] = line
        judged_save = isinstance(event, VerdictReached) and event.milliseconds > 0
        if judged_save or isinstance(event, (FileSynced, BatchSynced, PickedUp)):
            self._times.append(line)

    def _write_anew(self) -> None:
        temporary = self._path.with_name(f".{_NAME}.new")
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        lines = {*self._times, *self._verdicts.values(), *self._session.values()}
        in_order = sorted(lines, key=lambda line: float(json.loads(line)["at"]))
        head = json.dumps({"file": secrets.token_hex(8)}) + "\n"  # by this a reader knows another file
        os.write(file, "".join([head, *in_order]).encode())
        temporary.replace(self._path)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._grown = file, 0


class JournalReader:
    """Reads a journal, and on from where it was read to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._head = b""
        self._offset = 0

    def fresh(self) -> tuple[bool, list[Line]]:
        """Whether the file is another one than before, so that what was read no longer holds, and its new lines."""
        try:
            with self._path.open("rb") as stream:
                head = stream.readline()
                anew = head != self._head
                if not anew:
                    stream.seek(self._offset)
                start, data = stream.tell(), stream.read()
        except OSError:
            anew, self._head, self._offset = bool(self._head), b"", 0
            return anew, []
        whole = data.rfind(b"\n") + 1
        self._head, self._offset = head, start + whole
        return anew, [line for raw in data[:whole].splitlines() if (line := _line(raw)) is not None]


def _text(line: Line) -> str:
    return json_safe(json.dumps(line, ensure_ascii=False, separators=(",", ":"))) + "\n"


def _line(raw: bytes) -> Line | None:
    """A line as it was written; None for one that was cut by a crash."""
    try:
        line = json.loads(raw)
        return {"at": float(line["at"]), "type": str(line["type"]), "data": dict(line["data"])}
    except (ValueError, KeyError, TypeError):
        return None
