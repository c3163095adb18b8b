"""One parse in a process of its own: how it begins, what it may use, and what its end means."""

from __future__ import annotations

import collections
import contextlib
import faulthandler
import json
import os
import re
import resource
import signal
import sys
import time
from typing import Any, Deque, Dict, List, Mapping, Optional, Tuple, Union

from devenv.agent.forks import isolate
from devenv.agent.parse import Release, Task, parse
from devenv.agent.places import Places
from devenv.agent.problems import MEMORY_HINT, MEMORY_MESSAGE, Problem, problem

GRACE_SECONDS = 1.0
"""How long after Airflow's own limit a parse is ended from outside."""
_OUTPUT_KEPT = 16_000
_FLOOD = 1_000_000
_RESERVED = 16 * 1_073_741_824
"""Address space that a parse may reserve beyond the memory that it may use."""


class Child:
    """One parse that is running."""

    def __init__(self, file: str, because: str, pid: int, *, result: int, output: int, seconds: float) -> None:
        self.file = file
        self.because = because
        self.pid = pid
        self.result_file = result
        self.output_file = output
        self.started = time.monotonic()
        self.deadline = self.started + seconds
        self.result = bytearray()
        self.output: Deque[bytes] = collections.deque()
        self.kept = 0
        self.printed = 0
        self.killed = ""
        self.again = False
        self.memory = 0
        """Bytes that it shares with the process that forked it."""
        self.patient = False
        """It belongs to the backlog: no save waits for it."""

    def heard(self, data: bytes) -> None:
        """Keeps the last of what the file prints."""
        self.printed += len(data)
        self.output.append(data)
        self.kept += len(data)
        while self.output and self.kept - len(self.output[0]) >= _OUTPUT_KEPT:
            self.kept -= len(self.output.popleft())

    def last_words(self) -> str:
        """The last of what it printed, as text."""
        return b"".join(self.output)[-_OUTPUT_KEPT:].decode("utf-8", "replace")


def become_child(result: int, output: int, files: List[int], megabytes: int) -> None:
    """Makes the process that was just forked one that parses: isolated, and with bounded memory."""
    isolate(result, output, files)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # elsewhere the limit is not honoured; what is used is limited from outside
        with open("/proc/self/statm") as stream:
            used = int(stream.read().split()[0]) * resource.getpagesize()
        limit = used + megabytes * 1_048_576 + _RESERVED
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or limit < hard:
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    faulthandler.enable(2)
    _keep_fault_handler()


def _keep_fault_handler() -> None:
    """3.x's importer takes SIGSEGV for a Python handler, under which a real fault repeats for ever."""
    original = signal.signal

    def without_faults(number: Any, handler: Any) -> Any:
        return None if number == signal.SIGSEGV else original(number, handler)

    signal.signal = without_faults  # type: ignore[assignment]


def work(release: Release, places: Places, task: Task, result: int) -> None:
    """The child's whole life."""
    code = 1
    try:
        faulthandler.dump_traceback_later(max(0.1, task.seconds + GRACE_SECONDS / 2), file=2)
        _limit_import_time(task.seconds)
        found = parse(release, places, task)
        payload = json.dumps(found, default=str).encode("utf-8", "replace")
        body = b"%d\n" % len(payload) + payload
        view = memoryview(body)
        while view:
            view = view[os.write(result, view) :]
        code = 0
    except BaseException as error:
        import traceback

        traceback.print_exc()
        code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 70
    finally:
        os._exit(code)


def _limit_import_time(seconds: float) -> None:
    """Airflow's own time limit gives a traceback; ours comes a moment later and needs no cooperation."""
    from airflow import settings

    original = settings.get_dagbag_import_timeout

    def shorter(path: str) -> float:
        configured = float(original(path))
        return min(configured, seconds) if configured > 0 else seconds

    settings.get_dagbag_import_timeout = shorter


def result_of(child: Child, status: int, places: Places, check: Mapping[str, Any]) -> Dict[str, Any]:
    """What a child said, or what its end means when it said nothing."""
    milliseconds = (time.monotonic() - child.started) * 1000
    body = whole(bytes(child.result))
    if body is not None:
        with contextlib.suppress(ValueError):
            found: Dict[str, Any] = json.loads(body.decode("utf-8"))
            if child.printed > _FLOOD:
                found["problems"].append(_flood(child))
            return found
    words = child.last_words()
    file, line = _faulty_line(words, places)
    where: Dict[str, Any] = {"file": file or child.file, "line": line, "places": places}
    seconds = float(check.get("parse_seconds", 30.0))
    if child.killed == "parse-memory":
        found_problem = problem("parse-memory", MEMORY_MESSAGE, **where)
    elif child.killed:
        found_problem = problem("parse-timeout", f"parsing did not end within {seconds:.0f} s and was stopped", **where)
    elif os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        found_problem = problem("crash", f"the process that parses this file died of {name}", kind=name, **where)
    elif "MemoryError" in words:
        found_problem = problem("parse-memory", MEMORY_MESSAGE, kind="MemoryError", **where)
    else:
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else status
        found_problem = problem(
            "exit-while-parsing", f"the file ends the process that parses it with exit code {code}", **where
        )
    found_problem["hint"] = {"parse-memory": MEMORY_HINT}.get(found_problem["rule"], "")
    problems = [found_problem] + ([_flood(child)] if child.printed > _FLOOD else [])
    return {"dags": {}, "problems": problems, "milliseconds": milliseconds}


def _flood(child: Child) -> Problem:
    return problem(
        "output-flood",
        f"the file prints {child.printed / 1e6:.0f} MB while it is parsed",
        severity="warning",
        file=child.file,
    )


def _faulty_line(words: str, places: Places) -> Tuple[str, int]:
    """The innermost own line in a dump of faulthandler (the most recent call is first)."""
    start = max(words.rfind("most recent call first"), 0)
    for path, line in re.findall(r'File "([^"]+)", line (\d+)', words[start:]):
        name = places.name(path)
        if name is not None:
            return name, int(line)
    return "", 0


def whole(data: Union[bytes, bytearray]) -> Optional[bytes]:
    """The body of a complete result, or None."""
    head, newline, _ = bytes(data[:24]).partition(b"\n")
    if not newline or not head.isdigit():
        return None
    length = int(head)
    start = len(head) + 1
    return bytes(data[start : start + length]) if len(data) >= start + length else None


def anonymous_memory(process: str) -> int:
    """Bytes of memory that a process has of its own, not of files; 0 where Linux does not tell."""
    try:
        with open(f"/proc/{process}/statm") as stream:
            _size, resident, shared = (int(word) for word in stream.read().split()[:3])
    except (OSError, ValueError):
        return 0
    return (resident - shared) * resource.getpagesize()
