"""The warm process: has Airflow imported, forks for each parse, and knows the DAG files and what they depend on.

It has a session of its own and outlives the agent, which finds it again by a socket. It has one thread, so that
forking is safe, and waits for everything at once: the agent, the results, the output and the end of its children.
(On macOS a fork is only safe before system frameworks start threads: Airflow is imported with
`OBJC_DISABLE_INITIALIZE_FORK_SAFETY=YES` and `no_proxy=*`, as Airflow's own documentation asks for.)
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import socket
import sys
import time
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

from devenv.agent import database, frames
from devenv.agent.child import (
    GRACE_SECONDS,
    Child,
    anonymous_memory,
    become_child,
    result_of,
    whole,
    work,
)
from devenv.agent.forks import Children, end_strays, kill_group, read_now
from devenv.agent.frames import Decoder, Frame, FrameError
from devenv.agent.graph import Graph
from devenv.agent.hints import own_modules
from devenv.agent.ignored import NAME as IGNORE_FILE
from devenv.agent.ignored import Patterns
from devenv.agent.parse import Release, Task, load_release
from devenv.agent.places import Places
from devenv.agent.preload import Preload
from devenv.agent.problems import Problem, place, problem
from devenv.agent.rehearsal import warm_up
from devenv.agent.silenced import reported
from devenv.agent.unseen import passes_safe_mode, why_no_dag
from devenv.agent.warm_start import configuration_version, serve

_RESULT_LIMIT = 4_000_000
_TOUCH_SECONDS = 3.0
_FIRST_SESSION_SECONDS = 30.0
_MEMORY_LOOK_SECONDS = 0.05
_TURN_SECONDS = 0.05
"""How long files may be judged without a process before the loop looks at what else there is."""
_SMALL_FILE = 200_000
"""Bytes up to which a file that makes no DAG is judged without a process of its own."""
_BACKLOG_NICENESS = 10
_SEVERITIES = ("error", "warning", "info")


class Known:
    """What the last parse of a DAG file found, and which version of the file that was."""

    def __init__(self, version: Tuple[int, ...], dags: Dict[str, str], verdict: Dict[str, Any]) -> None:
        self.version = version
        self.dags = dags
        self.verdict = verdict


class Parser:
    """The loop: requests in, children out, verdicts back."""

    def __init__(self, listener: socket.socket, options: Mapping[str, Any], memory: str) -> None:
        self._options = options
        self._places = Places(options["folders"], options["dags"])
        self._release: Release = load_release(self._places)
        self._safe_mode = _has_safe_mode(options)
        self._patterns = Patterns(self._places, self._release.version)
        self._graph = Graph(self._places)
        self._known: Dict[str, Known] = {}
        # There when a session began, and not parsed yet: what they define is not new.
        self._found: Set[str] = set()
        # File → the path because of which it is parsed again; first in, first out.
        self._urgent: Dict[str, str] = {}
        self._backlog: Dict[str, str] = {}
        self._held_back = False
        # Dependents to touch, and until when at the latest: the scheduler's parses would delay the verdicts on them.
        self._untouched: Set[str] = set()
        self._touch_by = 0.0
        self._definers: Dict[str, Set[str]] = {}
        # .airflowignore → what is wrong with it.
        self._ignore_files: Dict[str, List[Problem]] = {}
        self._children: Dict[int, Child] = {}
        self._waiting: List[Tuple[Any, Set[str]]] = []
        self._preload = Preload(self._places, memory)
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._session: Optional[socket.socket] = None
        self._decoder = Decoder()
        # The agent that started it is on its way.
        self._left = time.monotonic() + _FIRST_SESSION_SECONDS
        self._reporter: Optional[database.Reporter] = None
        self._configuration = configuration_version()
        self._over = False
        self._ends = Children()
        self._selector.register(self._ends.file, selectors.EVENT_READ, self._reap)
        warm_up(self._release)
        gc.collect()
        gc.freeze()

    def run(self) -> None:
        """Serves until `quit` arrives, or no agent has come for `linger` seconds."""
        while not self._over:
            self._start_children()
            self._touch()
            registered = self._selector.get_map()
            for key, _ in self._selector.select(self._patience()):
                if registered.get(key.fileobj) is key:  # not closed, nor its number reused, by a handler before
                    key.data(key.fileobj)
            self._enforce()
            if self._session is None and time.monotonic() - self._left >= float(self._options["linger"]):
                return
            if not self._urgent and not self._preload.step():
                self._over = True  # the agent starts another, without what that module did to this one

    def close(self) -> None:
        """Ends what is running."""
        self._touch_by = 0.0
        self._touch()
        for child in list(self._children.values()):
            kill_group(child.pid)
        if self._reporter is not None:
            self._reporter.close()

    def _patience(self) -> float:
        deadlines = [child.deadline for child in self._children.values()]
        if self._untouched and self._session is not None:
            deadlines.append(self._touch_by)
        if self._reporter is not None:
            deadlines += [when for when in [self._reporter.deadline()] if when is not None]
        if self._next_queue() or (self._preload and not self._urgent):
            return 0.0
        if self._children and sys.platform == "linux":
            deadlines.append(time.monotonic() + _MEMORY_LOOK_SECONDS)
        if self._session is None:
            deadlines.append(max(self._left, time.monotonic() - 60) + float(self._options["linger"]))
        return max(0.0, min([*deadlines, time.monotonic() + 60.0]) - time.monotonic())

    # The session

    def _accept(self, _file: Any) -> None:
        connection, _address = self._listener.accept()
        self._drop()
        self._session = connection
        self._decoder = Decoder()
        self._selector.register(connection, selectors.EVENT_READ, self._receive)
        self._send("ready", release=".".join(map(str, self._release.version)))

    def _drop(self) -> None:
        if self._session is not None:
            self._selector.unregister(self._session)
            self._session.close()
            self._session = None
            self._held_back = False
            self._left = time.monotonic()
            self._waiting.clear()

    def _receive(self, _file: Any) -> None:
        assert self._session is not None
        try:
            data = self._session.recv(1_048_576)
            if not data:
                self._drop()
                return
            for frame in self._decoder.feed(data):
                self._handle(frame)
        except (OSError, FrameError):
            self._drop()

    def _handle(self, frame: Frame) -> None:
        if frame.type == "hold":
            self._held_back = True
        elif frame.type == "look":
            self._held_back = False
            changes = frame.json()
            self._look(changes["changed"], changes["deleted"], urgent=not changes["many"])
        elif frame.type == "attach":
            self._attach()
        elif frame.type == "parse":
            self._parse(frame)
        elif frame.type == "scheduler":
            self._report(frame)
        elif frame.type == "quit":
            self._over = True

    def _send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        if self._session is None:
            return
        try:
            self._session.sendall(frames.encode(kind, payload, **fields))
        except (OSError, FrameError):
            self._drop()

    # What to parse

    def _attach(self) -> None:
        """A new session: says what is known, and parses what is new or differs."""
        self._judge_ignore_files()
        present = set(self._places.dag_files())
        for file in set(self._known) - present:
            self._forget(file)
        for file in sorted(present):
            known = self._known.get(file)
            if known is not None and known.version == self._version(file):
                self._send_verdict({**known.verdict, "added": [], "removed": [], "changed": [], "because": ""})
            else:
                self._found.add(file)
                self._queue(file, "", urgent=False)

    def _parse(self, frame: Frame) -> None:
        asked = [path for path in frame.json() if isinstance(path, str)] if frame.payload else []
        files = asked or list(self._places.dag_files())
        self._waiting.append((frame.fields.get("id"), set(files)))
        self._judge_ignore_files()
        for file in files:
            self._queue(file, "", urgent=bool(asked))
        self._answer_waiting("")

    def _version(self, file: str) -> Tuple[int, ...]:
        try:
            now = os.stat(self._places.path(file))
        except OSError:
            return ()
        return (now.st_mtime_ns, now.st_size, now.st_ino)

    def _look(self, changed: List[str], deleted: List[str], *, urgent: bool) -> None:
        """Changes were written: parses the changed DAG files and all that depend on a changed path.

        Many at once (a first sync) are not urgent: their verdicts give way to those of later saves.
        """
        if configuration_version() != self._configuration or self._holds(changed + deleted):
            self._over = True  # the agent starts another, which looks at everything
            return
        if any(path.endswith(f"/{IGNORE_FILE}") for path in [*changed, *deleted]):
            self._judge_ignore_files()
        again = self._dependents([*changed, *deleted])
        for file in deleted:
            if file in self._known:
                self._gone(file)
        for file in changed:
            if self._places.is_dag_file(file):
                self._queue(file, "", urgent=urgent)
        if again:
            self._touch_by = self._touch_by if self._untouched else time.monotonic() + _TOUCH_SECONDS
            self._untouched.update(again)
        for file, path in sorted(again.items()):
            self._queue(file, path, urgent=urgent)

    def _touch(self) -> None:
        """Has the dependents touched, so that the scheduler parses them too, once nobody waits for a verdict."""
        if not self._untouched or self._session is None:
            return
        waited_for = self._urgent or any(not child.patient for child in self._children.values())
        if waited_for and time.monotonic() < self._touch_by:
            return
        files, self._untouched = sorted(self._untouched), set()
        for data in frames.encode_items("touch", files):
            with contextlib.suppress(OSError):  # the agent is gone
                self._session.sendall(data)

    def _dependents(self, paths: List[str]) -> Dict[str, str]:
        """DAG file → the changed path that it depends on, for files that did not change themselves."""
        found: Dict[str, str] = {}
        changed = set(paths)
        for path in paths:
            everything = path.endswith(f"/{IGNORE_FILE}")
            for file in self._places.dag_files() if everything else self._graph.dependents(path):
                if file not in changed:
                    found.setdefault(file, path)
        return found

    def _holds(self, paths: List[str]) -> bool:
        """True when one of these files is imported in this process itself: airflow_local_settings, a plugin."""
        if not hasattr(self, "_own"):
            loaded = (self._places.name(getattr(module, "__file__", None)) for module in list(sys.modules.values()))
            self._own = {name for name in loaded if name is not None}
        return any(path in self._own for path in paths)

    def _queue(self, file: str, because: str, *, urgent: bool) -> None:
        for child in self._children.values():
            if child.file == file:
                child.again = True  # it may have read the old version: that parse's verdict is dropped
        waited = self._urgent.pop(file, None) is not None
        self._backlog.pop(file, None)
        (self._urgent if urgent or waited else self._backlog)[file] = because

    def _gone(self, file: str) -> None:
        dags = sorted(self._known[file].dags)
        self._forget(file)
        for other in self._rivals(dags, file):
            self._queue(other, file, urgent=True)

    def _forget(self, file: str) -> None:
        known = self._known.pop(file, None)
        if known is not None:
            self._note_definitions(file, known.dags, {})
        self._found.discard(file)
        self._graph.forget(file)

    # Children

    def _start_children(self) -> None:
        # A save need not wait for a file of the backlog to be parsed: it has a place of its own.
        until = time.monotonic() + _TURN_SECONDS
        own: Dict[str, str] = {}
        while queue := self._next_queue():
            file = next(iter(queue))
            because = queue.pop(file)
            if not self._version(file):
                self._answer_waiting(file)
            elif self._makes_no_dag(file):
                own = own or own_modules(self._places)
                self._judge(file, because, self._without_process(file, own))
            else:
                self._start(file, because, patient=queue is self._backlog)
            if time.monotonic() > until:
                return

    def _makes_no_dag(self, file: str) -> bool:
        """Whether Airflow's safe mode skips the file, so that there is nothing to run."""
        path = self._places.path(file)
        with contextlib.suppress(OSError):
            return self._safe_mode and os.path.getsize(path) <= _SMALL_FILE and not passes_safe_mode(path)
        return False

    def _without_process(self, file: str, own: Mapping[str, str]) -> Dict[str, Any]:
        """What is found on a file that Airflow does not run."""
        began = time.perf_counter()
        found = self._patterns.hides(file)
        if found is None:
            found = why_no_dag(file, self._places, safe_mode=True, own=own)
        milliseconds = (time.perf_counter() - began) * 1000
        return {"dags": {}, "problems": [found] if found is not None else [], "milliseconds": milliseconds}

    def _next_queue(self) -> Dict[str, str]:
        """The queue whose turn it is; an empty one when all places are taken.

        The backlog waits for what is imported ahead: each of its files would import the same again.
        """
        parallel = int(self._options["parallel"])
        running = len(self._children)
        if self._urgent:
            patient = any(child.patient for child in self._children.values())
            return self._urgent if running < parallel + patient else {}
        return self._backlog if running < parallel and not self._held_back and not self._preload else {}

    def _start(self, file: str, because: str, *, patient: bool) -> None:
        check = self._options["check"]
        seconds = float(check.get("parse_seconds", 30.0))
        result, result_end = os.pipe()
        output, output_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            if patient:
                with contextlib.suppress(OSError):
                    os.nice(_BACKLOG_NICENESS)
            become_child(result_end, output_end, self._child_files(), int(check.get("parse_memory", 1024)))
            task = Task(file, seconds, self._options.get("safe_mode"), check, self._options["vault_mount"])
            work(self._release, self._places, task, result_end)
        os.close(result_end)
        os.close(output_end)
        for end in (result, output):
            os.set_blocking(end, False)
        child = Child(file, because, pid, result=result, output=output, seconds=seconds + GRACE_SECONDS)
        child.patient = patient
        child.memory = anonymous_memory("self")
        self._children[pid] = child
        self._selector.register(result, selectors.EVENT_READ, lambda _file: self._read_result(child))
        self._selector.register(output, selectors.EVENT_READ, lambda _file: self._read_output(child))

    def _child_files(self) -> List[int]:
        """What a child must not hold open."""
        found = [self._listener.fileno(), *self._ends.files(), self._selector.fileno()]
        if self._session is not None:
            found.append(self._session.fileno())
        if self._reporter is not None:
            found += self._reporter.files()
        for child in self._children.values():
            found += [child.result_file, child.output_file]
        return found

    def _read_result(self, child: Child) -> None:
        data = read_now(child.result_file)
        if data is None:
            return
        child.result += data
        if not data or len(child.result) > _RESULT_LIMIT or whole(child.result):
            self._selector.unregister(child.result_file)
            if data:
                kill_group(child.pid)  # it has said all; what it started ends with it

    def _read_output(self, child: Child) -> None:
        data = read_now(child.output_file)
        if data:
            child.heard(data)
        elif data is not None:
            self._selector.unregister(child.output_file)

    def _enforce(self) -> None:
        now = time.monotonic()
        allowed = int(self._options["check"].get("parse_memory", 1024)) * 1_048_576
        for child in self._children.values():
            if now >= child.deadline:
                child.killed = child.killed or "parse-timeout"
                child.deadline = now + 60.0
                kill_group(child.pid)
            elif not child.killed and anonymous_memory(str(child.pid)) - child.memory > allowed:
                child.killed = "parse-memory"
                kill_group(child.pid)
        overdue = self._reporter.overdue() if self._reporter is not None else None
        if overdue is not None:
            self._send("done", _reason("the metadata database does not answer"), re=overdue)

    def _reap(self, _file: Any) -> None:
        ended: List[Tuple[Child, int]] = []
        for pid, status in self._ends.ended():
            child = self._children.pop(pid, None)
            if child is not None:
                ended.append((child, status))
            elif self._reporter is not None and pid == self._reporter.pid:
                with contextlib.suppress(KeyError):
                    self._selector.unregister(self._reporter.answers)
                self._reporter.close()
                self._reporter = None
        for child, status in ended:
            kill_group(child.pid)
            end_strays({*self._children, *([self._reporter.pid] if self._reporter is not None else [])})
            self._finish(child, status)

    def _finish(self, child: Child, status: int) -> None:
        for end in (child.result_file, child.output_file):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
        for _ in range(64):  # a process that escaped may still write
            result, output = read_now(child.result_file), read_now(child.output_file)
            if not result and not output:
                break
            child.result += result or b""
            child.heard(output or b"")
        os.close(child.result_file)
        os.close(child.output_file)
        if child.again:
            return  # it is queued once more
        if not self._version(child.file):
            self._answer_waiting(child.file)  # it was removed meanwhile
            return
        self._judge(child.file, child.because, result_of(child, status, self._places, self._options["check"]))

    # Verdicts

    def _judge(self, file: str, because: str, result: Dict[str, Any]) -> None:
        before = self._known.get(file)
        earlier = self._graph.needs(file)
        self._graph.learn(file, result)
        broken = any(one["severity"] == "error" for one in result["problems"])
        if broken:
            self._graph.keep(file, earlier)
        dags: Dict[str, str] = dict(result["dags"])
        _explain_removal(result["problems"], because)
        old = before.dags if before is not None else {}
        problems = [
            one for one in result["problems"] if one["rule"] != "no-dag-found" or not self._graph.is_helper(file)
        ]
        problems += self._duplicates(file, dags)
        problems = self._reported(problems)
        problems.sort(key=lambda one: _SEVERITIES.index(one["severity"]))
        verdict = {
            "file": file,
            "dag_ids": sorted(dags),
            "problems": problems,
            "milliseconds": result["milliseconds"],
            "speaker": "agent",
            "added": [] if before is None and file in self._found else sorted(set(dags) - set(old)),
            "removed": sorted(set(old) - set(dags)),
            "changed": sorted(name for name in set(dags) & set(old) if dags[name] != old[name]),
            "because": because,
            "parsed_at": time.time(),
        }
        self._note_definitions(file, old, dags)
        self._known[file] = Known(self._version(file), dags, verdict)
        self._found.discard(file)
        self._send_verdict(verdict)
        if set(dags) != set(old):
            for other in self._rivals(sorted(set(dags) ^ set(old)), file):
                self._judge_rival(other, file)
        self._answer_waiting(file)
        self._settle_helpers(result.get("files", ()))
        self._preload.learn(result.get("modules", ()))

    def _settle_helpers(self, files: Any) -> None:
        """A module that another file imports need not make a DAG: says so of those that were judged before."""
        for file in files:
            known = self._known.get(file)
            if known is None:
                continue
            problems = [one for one in known.verdict["problems"] if one["rule"] != "no-dag-found"]
            self._correct(known, problems, known.verdict["because"])

    def _correct(self, known: Known, problems: List[Problem], because: str) -> None:
        """Sends a verdict once more where other files made its problems differ; its DAGs are the same."""
        if problems != known.verdict["problems"]:
            same: Dict[str, Any] = {"added": [], "removed": [], "changed": []}
            known.verdict = {**known.verdict, **same, "problems": problems, "because": because}
            self._send_verdict(known.verdict)

    def _reported(self, problems: List[Problem]) -> List[Problem]:
        return reported(problems, self._options["check"].get("ignore", ()), self._places)

    def _judge_ignore_files(self) -> None:
        """Says which lines of the `.airflowignore` files Airflow skips."""
        found = {file: self._patterns.invalid(file) for file in self._places.walk() if file.endswith(f"/{IGNORE_FILE}")}
        for file in sorted({*found, *self._ignore_files}):
            problems = found.get(file, [])
            if problems or self._ignore_files.get(file):
                self._send_verdict({"file": file, "problems": problems, "speaker": "agent", "parsed_at": time.time()})
        self._ignore_files = found

    def _judge_rival(self, file: str, because: str) -> None:
        """A DAG id appeared or disappeared elsewhere: says again what is known, with the duplicates of now."""
        known = self._known[file]
        kept = [one for one in known.verdict["problems"] if one["rule"] != "duplicate-dag-id" or one["type"]]
        self._correct(known, kept + self._reported(self._duplicates(file, known.dags)), because)

    def _duplicates(self, file: str, dags: Mapping[str, str]) -> List[Problem]:
        found = []
        for dag_id in sorted(dags):
            others = self._rivals([dag_id], file)
            if others:
                duplicate = problem(
                    "duplicate-dag-id",
                    f"DAG id {dag_id!r} is also defined in {', '.join(others)}; Airflow shows one or the other",
                    file=file,
                    hint="Give each DAG an id of its own.",
                )
                place(duplicate, dag_id, self._places)
                found.append(duplicate)
        return found

    def _rivals(self, dag_ids: List[str], file: str) -> List[str]:
        found = {other for one in dag_ids for other in self._definers.get(one, ())}
        return sorted(found - {file})

    def _note_definitions(self, file: str, old: Mapping[str, str], new: Mapping[str, str]) -> None:
        for dag_id in set(old) - set(new):
            self._definers[dag_id].discard(file)
            if not self._definers[dag_id]:
                del self._definers[dag_id]
        for dag_id in set(new) - set(old):
            self._definers.setdefault(dag_id, set()).add(file)

    def _send_verdict(self, verdict: Mapping[str, Any]) -> None:
        payload = json.dumps(verdict).encode()
        if len(payload) > frames.PAYLOAD_LIMIT:
            payload = json.dumps({**verdict, "problems": list(verdict["problems"])[:20], "dag_ids": []}).encode()
        self._send("verdict", payload)

    def _answer_waiting(self, file: str) -> None:
        for waiting in list(self._waiting):
            waiting[1].discard(file)
            if not waiting[1]:
                self._waiting.remove(waiting)
                self._send("done", re=waiting[0])

    # The scheduler's word

    def _report(self, frame: Frame) -> None:
        if self._reporter is None:
            self._reporter = database.Reporter(self._places, self._child_files())
            self._selector.register(self._reporter.answers, selectors.EVENT_READ, self._answer_report)
        if not self._reporter.ask(frame.fields.get("id")):
            self._send("done", _reason("the metadata database does not answer"), re=frame.fields.get("id"))

    def _answer_report(self, _file: Any) -> None:
        if self._reporter is None:
            return
        alive = self._reporter.receive(lambda number, payload: self._send("done", payload, re=number))
        if not alive:
            self._selector.unregister(self._reporter.answers)


def _explain_removal(problems: List[Problem], because: str) -> None:
    """A module that is missing since its file was removed or renamed is no package to install."""
    stem = because.rpartition("/")[2].partition(".")[0]
    for one in problems:
        if because and one["rule"] in ("missing-package", "missing-module") and stem in one["message"]:
            one.update(rule="missing-module", hint=f"{because} was removed or renamed.")


def _reason(text: str) -> bytes:
    return json.dumps({"reason": text}).encode()


def _has_safe_mode(options: Mapping[str, Any]) -> bool:
    """Whether Airflow's own heuristic decides which files it runs: safe mode is on, and no other is configured."""
    from airflow.configuration import conf

    given = options.get("safe_mode")
    on = bool(given if given is not None else conf.getboolean("core", "DAG_DISCOVERY_SAFE_MODE"))
    heuristic = conf.get("core", "might_contain_dag_callable", fallback="")
    return on and heuristic in ("", "airflow.utils.file.might_contain_dag_via_default_heuristic")


def main(path: str, options: Mapping[str, Any], ready: int) -> None:
    """Serves agents that connect to `path`; see `devenv.agent.warm_start.serve`."""
    serve(path, ready, lambda listener: Parser(listener, options, f"{path.rpartition('-')[0]}.modules"))
