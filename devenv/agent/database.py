"""What the scheduler itself knows, read from Airflow's metadata database.

In a process of its own, forked from the warm one when first asked, with one connection that is kept: the process that
forks the parses must never hold a connection, and a database that hangs must not hang the verdicts.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import signal
import time
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from devenv.agent.places import Places
from devenv.agent.problems import problem

ANSWER_SECONDS = 3.0
_ERRORS_LIMIT = 200
_TEXT_LIMIT = 4_000
_ERRORS = "SELECT filename, stacktrace, timestamp FROM import_error"
_PARSED_2 = "SELECT fileloc, max(last_parsed_time) FROM dag WHERE is_active GROUP BY fileloc"
_PARSED_3 = "SELECT relative_fileloc, max(last_parsed_time) FROM dag WHERE NOT is_stale GROUP BY relative_fileloc"


class Reporter:
    """The process that asks, as seen by the one that forked it."""

    def __init__(self, places: Places, close: Iterable[int]) -> None:
        """Forks it; `close` are descriptors that it must not hold open."""
        questions, self._questions = os.pipe()
        self.answers, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            for file in (*close, self._questions, self.answers):
                with contextlib.suppress(OSError):
                    os.close(file)
            _answer_questions(places, questions, answers)
        os.close(questions)
        os.close(answers)
        os.set_blocking(self.answers, False)
        self._number: Any = None
        self._asked = 0.0
        self._busy = False
        self._buffer = bytearray()

    def files(self) -> List[int]:
        """The descriptors that a fork of this process must close."""
        return [self._questions, self.answers]

    def ask(self, number: Any) -> bool:
        """Asks; False when the last answer is still out."""
        if self._busy:
            return False
        self._number, self._asked, self._busy = number, time.monotonic(), True
        with contextlib.suppress(OSError):
            os.write(self._questions, b"?")
        return True

    def deadline(self) -> Optional[float]:
        """When somebody waiting must get another answer (monotonic), None when nobody waits."""
        return self._asked + ANSWER_SECONDS if self._number is not None else None

    def overdue(self) -> Any:
        """The number of a question whose time is up, or None; it is not answered a second time."""
        if self._number is None or time.monotonic() < self._asked + ANSWER_SECONDS:
            return None
        number, self._number = self._number, None
        return number

    def receive(self, answer: Callable[[Any, bytes], None]) -> bool:
        """Reads what arrived and passes a whole answer on; False when the process is gone."""
        try:
            data = os.read(self.answers, 262_144)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._buffer += data
        head, newline, body = bytes(self._buffer).partition(b"\n")
        if newline and len(body) >= int(head):
            self._buffer.clear()
            number, self._number, self._busy = self._number, None, False
            if number is not None:
                answer(number, body)
        return True

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
        for file in self.files():
            with contextlib.suppress(OSError):
                os.close(file)


def _answer_questions(places: Places, questions: int, answers: int) -> None:
    """The process's whole life: ends when the warm process does."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        database = _Database(places)
        while os.read(questions, 1):
            payload = json.dumps(database.report()).encode()
            body = b"%d\n" % len(payload) + payload
            view = memoryview(body)
            while view:
                view = view[os.write(answers, view) :]
    finally:
        os._exit(0)


class _Database:
    """One kept connection."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._connection: Any = None

    def report(self) -> Dict[str, Any]:
        """What `SchedulerReport` says, as plain data; with `reason` and nothing else when it cannot be read."""
        import airflow
        from sqlalchemy import text

        try:
            if self._connection is None:
                from airflow import settings

                # Autocommit: a transaction that stays open would hold back the database's own cleaning up.
                self._connection = settings.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            parsed = _PARSED_3 if airflow.__version__ >= "3" else _PARSED_2
            at = time.time()
            errors = self._connection.execute(text(_ERRORS)).fetchall()
            times = self._connection.execute(text(parsed)).fetchall()
        except Exception as error:
            with contextlib.suppress(Exception):
                self._connection.close()
            self._connection = None
            return {"reason": f"the metadata database cannot be read: {type(error).__name__}"}
        return {
            "errors": [self._verdict(*row) for row in errors[:_ERRORS_LIMIT]],
            "parsed": {
                self._name(path): _seconds(when) for path, when in times if path is not None and when is not None
            },
            "at": at,
        }

    def _name(self, path: str) -> str:
        """2.x notes absolute paths, 3.x such that are relative to the bundle, which is the DAG folder."""
        return self._places.name(path) or (path if os.path.isabs(path) else f"{self._places.dags}/{path}")

    def _verdict(self, path: str, stacktrace: Optional[str], when: Any) -> Dict[str, Any]:
        file = self._name(str(path))
        kind, message, place, line = _read_trace(stacktrace or "", self._places)
        found = problem(
            "scheduler-import-error", message, kind=kind, file=place or file, line=line, places=self._places
        )
        return {"file": file, "problems": [found], "speaker": "scheduler", "parsed_at": _seconds(when)}


def _read_trace(trace: str, places: Places) -> Tuple[str, str, str, int]:
    """Type, message, file and line of an import error's text."""
    lines = [line for line in trace.strip().splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if not line.startswith(" ")), "it does not parse")
    kind, _, message = last.partition(": ")
    if not re.fullmatch(r"[A-Za-z_][\w.]*", kind):
        kind, message = "", last
    for path, line in reversed(re.findall(r'File "([^"]+)", line (\d+)', trace)):
        name = places.name(path)
        if name is not None:
            return kind.rpartition(".")[2], (message or last)[:_TEXT_LIMIT], name, int(line)
    return kind.rpartition(".")[2], (message or last)[:_TEXT_LIMIT], "", 0


def _seconds(when: Any) -> float:
    """Seconds since the epoch; SQLite gives text, without a zone, in UTC."""
    if isinstance(when, str):
        when = datetime.datetime.fromisoformat(when)
    if not isinstance(when, datetime.datetime):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.timezone.utc)
    return float(when.timestamp())
