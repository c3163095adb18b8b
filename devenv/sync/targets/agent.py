"""The target that talks to the agent: one open session carries changes, answers and verdicts."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import operator
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast, get_args

from devenv.agent import frames
from devenv.agent.frames import Decoder, Frame, FrameError
from devenv.agent_program import program, sent
from devenv.duplex import Duplex, DuplexClosed
from devenv.errors import PlatformError, RefusedError
from devenv.foreign_text import clean
from devenv.settings.schema import CheckSettings
from devenv.sync.model import (
    Ack,
    Batch,
    Capabilities,
    Entry,
    JobIsWriting,
    Listener,
    Manifest,
    Put,
    SchedulerReport,
    TargetLost,
)
from devenv.verdict import Verdict

_CHUNK = 262_144
_FLUSH = 262_144
_TICK_SECONDS = 0.5
_LINGER_SECONDS = 1_800.0
JOB_HINT = "Wait until the Job has ended: kubectl get job sync-dags"
TAKE_OVER_HINT = (
    "Stop the other watch, or use a namespace of your own; if it is your own volume, no longer used by the other "
    "environment: devenv watch --take-over"
)
Reason = Literal["", "changed", "space", "permission", "unsafe", "unsupported", "failed"]


class ClaimInUse(RefusedError):
    """Another environment, laptop or user holds the DAG volume, or filled it; the message names them.

    Two writers would undo each other's saves, so the second is refused. While the other watches, stop that watch, or
    use a namespace of your own. A volume that another environment filled and no longer uses (the project's folder was
    renamed, say) is taken with `--take-over` of `devenv up`, `devenv watch` or `devenv sync`: it is then brought in
    step with your DAG folder. Nobody is ever pushed out of a volume in use.
    """

    code = "DEVENV-501"


class ClaimBusy(TargetLost):
    """An agent of the same environment in a pod that is about to end still holds the claim; trying again helps."""


class AgentBroken(PlatformError):
    """The agent did not start beside the DAG volume, or cannot use it; its own words are shown."""

    code = "DEVENV-503"


@dataclass(frozen=True)
class Owner:
    """Who syncs: what another laptop is told when it is refused.

    Attributes:
        environment: `Project.identifier`.
        host: the laptop's name.
        user: the person's account on it.
        folder: the project's folder.
    """

    environment: str
    host: str
    user: str
    folder: str


@dataclass(frozen=True)
class AgentOptions:
    """How the agent finds and treats what it writes.

    Attributes:
        claim: the folder where the roots are written: `/devenv/claim`; None: nothing is written, only parsed.
        airflow: the folder where Airflow sees the same roots: `/opt/airflow`; equal to `claim` on the local backend.
        verdicts: parse DAG files (needs Airflow in the agent's Python).
        dags: the name of the root that is Airflow's DAG folder.
        check: the policies.
        take_over: use a claim that another environment filled.
        parallel: how many files are parsed at once.
        safe_mode: whether Airflow looks only at files that name both "dag" and "airflow"; None: as configured.
        linger: seconds for which the warm process waits for another session; None: half an hour in a pod, and none
            at all on the local backend, where nothing may be left running.
        folders: root → folder where Airflow sees it, when that is not `airflow`/ROOT.
        vault_mount: where Variables and Connections lie in Vault, for hints.
    """

    claim: str | None
    airflow: str
    verdicts: bool = True
    dags: str = "dags"
    check: CheckSettings = field(default_factory=CheckSettings)
    take_over: bool = False
    parallel: int = 2
    safe_mode: bool | None = None
    linger: float | None = None
    folders: Mapping[str, str] | None = None
    vault_mount: str = "secret"


@dataclass(frozen=True)
class Deadlines:
    """Seconds. The session is lost when nothing at all arrives for `silence`, or no answer for `answer`."""

    start: float = 60.0
    silence: float = 15.0
    ping: float = 5.0
    answer: float = 120.0


class AgentTarget:
    """A session with the agent; see `devenv.sync.model.Target`."""

    name = "agent"

    def __init__(
        self,
        open_duplex: Callable[[], Duplex],
        listener: Listener,
        owner: Owner,
        roots: Sequence[str],
        options: AgentOptions,
        *,
        deadlines: Deadlines = Deadlines(),
    ) -> None:
        """Opens the session, sends the program and waits for its welcome.

        Args:
            open_duplex: starts `agent_command()` beside the volume.
            listener: told of verdicts and of the end of the session.
            owner: who asks.
            roots: names of the synced folders: "dags", "plugins".
            options: see there.
            deadlines: see there.

        Raises:
            ClaimInUse, JobIsWriting: the claim is another's.
            AgentBroken: there is no usable Python or claim.
            TargetLost: the session broke, or another pod still holds the claim; trying again helps.
        """
        self.capabilities = Capabilities(verdicts=options.verdicts, scheduler=options.verdicts)
        self._listener = listener
        self._deadlines = deadlines
        self._numbers = itertools.count(1)
        self._answers: dict[int, queue.SimpleQueue[Frame | None]] = {}
        self._acks: dict[str, Ack] = {}
        self._known: dict[str, int] | None = None
        self._root = 0
        self._greeted = False
        self._lost = ""
        self._closing = threading.Event()
        self._guard = threading.Lock()
        self._heard = time.monotonic()
        try:
            self._duplex = open_duplex()
        except DuplexClosed as error:
            raise TargetLost(f"no session to the agent: {error}") from error
        self._welcome: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="agent reader", daemon=True)
        self._reader.start()
        try:
            self._greet(owner, roots, options)
        except BaseException:
            self.close()
            raise
        self._greeted = True
        self._pinger = threading.Thread(target=self._ping, name="agent pings", daemon=True)
        self._pinger.start()

    def _greet(self, owner: Owner, roots: Sequence[str], options: AgentOptions) -> None:
        body = program()
        hello = frames.encode(
            "hello", protocol=frames.PROTOCOL, owner=asdict(owner), roots=list(roots), options=_plain(options)
        )
        self._send(sent(body) + hello)
        try:
            answer = self._welcome.get(timeout=self._deadlines.start)
        except queue.Empty:
            raise AgentBroken(f"the agent did not answer within {self._deadlines.start:.0f} s") from None
        if answer is None:
            raise TargetLost(self._lost)
        if answer.type == "welcome":
            return
        reason, message = answer.fields.get("reason"), clean(answer.fields.get("message", ""), 2_000)
        if reason == "owner":
            raise ClaimInUse(message, hint=TAKE_OVER_HINT)
        if reason == "job":
            raise JobIsWriting(message, hint=JOB_HINT)
        if reason == "busy":
            raise ClaimBusy(message)
        raise AgentBroken(message)

    # Target

    def manifest(self) -> Manifest:
        """What the agent's manifest holds, compared with the disk just now."""
        entries: dict[str, Entry] = {}
        for frame in self._ask("manifest"):
            if frame.type != "entries":
                continue
            for raw in _rows(frame, (str, str, str, int, bool)):
                path, kind, digest, size, executable = raw
                if kind in ("file", "folder") and frames.safe_parts(path):
                    entries[path] = Entry(path, kind, digest, size, executable)
        self._known = {path: _number(entry) for path, entry in entries.items()}
        self._root = functools.reduce(operator.xor, self._known.values(), 0)
        return entries

    def apply(self, batch: Batch) -> Sequence[Ack]:
        """Streams the batch without waiting for each answer, then waits for all of them."""
        acks: dict[str, Ack] = {}
        self._acks = acks
        early: dict[str, Ack] = {}
        outgoing = bytearray()
        for folder in batch.folders:
            self._queue(outgoing, frames.encode("folder", path=folder.path))
        for put in batch.puts:
            content = _content(put)
            if isinstance(content, Ack):
                early[put.entry.path] = content
                continue
            for frame in _put_frames(put.entry, content):
                self._queue(outgoing, frame)
        for entry in batch.modes:
            self._queue(outgoing, frames.encode("mode", path=entry.path, executable=entry.executable))
        for path in batch.deletes:
            self._queue(outgoing, frames.encode("delete", path=path))
        done = self._ask("end", ahead=bytes(outgoing))[-1]
        answers = {**acks, **early}
        asked = _paths(batch)
        self._note(batch, answers, done)
        return [
            answers.get(path) or Ack(path, ok=False, reason="failed", error="the agent gave no answer")
            for path in asked
        ]

    def clock(self) -> float:
        """The agent's clock, half a round trip taken into account."""
        before = time.monotonic()
        clock = self._ask("ping")[-1].fields.get("clock")
        if not isinstance(clock, (int, float)):
            raise TargetLost("the agent's clock is no number")
        return float(clock) + (time.monotonic() - before) / 2

    def scheduler(self) -> SchedulerReport:
        """What Airflow's database says; an empty report when it cannot be reached."""
        frame = self._ask("scheduler")[-1]
        try:
            raw = frame.json() if frame.payload else {}
        except FrameError as error:
            raise self._lose(str(error)) from error
        return _report(raw if isinstance(raw, dict) else {})

    def touch(self, paths: Sequence[str]) -> None:
        """Sets the files' mtime to the agent's now."""
        for start in range(0, len(paths), frames.ITEMS_PER_FRAME):
            piece = json.dumps(list(paths[start : start + frames.ITEMS_PER_FRAME])).encode()
            self._ask("touch", payload=piece)

    def parse(self, paths: Sequence[str] = (), *, wait: bool = True) -> None:
        """Asks for verdicts on these files, or (none given) on every DAG file; they come to the listener."""
        payload = json.dumps(list(paths)).encode()
        if wait:
            self._ask("parse", payload=payload)
        else:
            self._send(frames.encode("parse", payload, id=0))

    def close(self) -> None:
        """Ends the session."""
        if self._closing.is_set():
            return
        self._closing.set()
        if not self._lost:
            with contextlib.suppress(DuplexClosed):  # gone by itself, which is what was wanted
                self._duplex.write(frames.encode("bye"))
                self._reader.join(1.0)
        self._duplex.close()
        for thread in (self._reader, getattr(self, "_pinger", None)):
            if thread is not None and thread is not threading.current_thread():
                thread.join(2.0)

    # The stream

    def _queue(self, outgoing: bytearray, frame: bytes) -> None:
        """Collects small frames, so that ten thousand files are not ten thousand messages."""
        outgoing += frame
        if len(outgoing) >= _FLUSH:
            self._send(bytes(outgoing))
            outgoing.clear()

    def _send(self, data: bytes) -> None:
        if self._lost:
            raise TargetLost(self._lost)
        with self._guard:
            try:
                self._duplex.write(data)
            except DuplexClosed as error:
                raise self._lose(str(error)) from error

    def _ask(self, kind: str, *, payload: bytes = b"", ahead: bytes = b"") -> list[Frame]:
        """Sends a question and waits for all the frames of its answer, `done` being the last."""
        number = next(self._numbers)
        answers: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._answers[number] = answers
        try:
            self._send(ahead + frames.encode(kind, payload, id=number))
            found = []
            while True:
                if self._lost:
                    raise TargetLost(self._lost)
                try:
                    frame = answers.get(timeout=self._deadlines.answer if kind != "parse" else None)
                except queue.Empty:
                    raise self._lose(
                        f"the agent did not answer {kind!r} within {self._deadlines.answer:.0f} s"
                    ) from None
                if frame is None:
                    raise TargetLost(self._lost)
                found.append(frame)
                if frame.type == "done":
                    return found
        finally:
            self._answers.pop(number, None)

    def _read(self) -> None:
        decoder = Decoder(preamble=True)
        try:
            while True:
                data = self._duplex.read(_TICK_SECONDS)
                if data:
                    self._heard = time.monotonic()
                    for frame in decoder.feed(data):
                        self._take(frame)
                elif self._silent():
                    self._lose(f"the agent has been silent for {self._deadlines.silence:.0f} s")
                    return
        except DuplexClosed as error:
            said = clean(decoder.skipped().decode("utf-8", "replace"), 2_000).strip()
            self._lose(f"{error}: {said}" if said else str(error))
        except FrameError as error:
            self._lose(f"the agent sent nonsense: {error}")

    def _silent(self) -> bool:
        limit = self._deadlines.silence if self._greeted else self._deadlines.start
        return time.monotonic() - self._heard > limit

    def _take(self, frame: Frame) -> None:
        number = frame.fields.get("re")
        if isinstance(number, int):
            waiting = self._answers.get(number)
            if waiting is not None:
                waiting.put(frame)
        elif frame.type == "acks":
            for path, reason, error in _rows(frame, (str, str, str)):
                known = cast("Reason", reason if reason in get_args(Reason) else "failed")
                self._acks[path] = Ack(path, ok=not reason, error=clean(error, 2_000), reason=known)
        elif frame.type == "verdict":
            raw = frame.json()
            if isinstance(raw, dict):
                self._listener.verdict(Verdict.from_json(raw))
        elif frame.type in ("welcome", "refused"):
            self._welcome.put(frame)
            if self._greeted:
                self._lose(frame.fields.get("message", ""))
        elif frame.type != "alive":
            raise FrameError(f"there is no frame {frame.type!r}")

    def _ping(self) -> None:
        with contextlib.suppress(TargetLost):  # the listener knows
            while not self._closing.wait(self._deadlines.ping):
                self._send(frames.encode("ping", id=0))

    def _lose(self, reason: object) -> TargetLost:
        """The end of the session: whoever waits is woken, the listener is told once."""
        first = not self._lost
        self._lost = self._lost or clean(reason, 2_000) or "the session broke"
        if first and self._greeted and not self._closing.is_set():
            self._listener.lost(self._lost)
        self._welcome.put(None)
        for waiting in list(self._answers.values()):
            waiting.put(None)
        return TargetLost(self._lost)

    def _note(self, batch: Batch, acks: Mapping[str, Ack], done: Frame) -> None:
        """Keeps the root digest in step with what was acknowledged.

        Raises:
            TargetLost: the volume holds something else, so all must be compared again.
        """
        if self._known is None:
            return
        parents: set[str] = set()
        for entry in (*batch.folders, *(put.entry for put in batch.puts), *batch.modes):
            ack = acks.get(entry.path)
            if ack is not None and ack.ok:
                self._know(entry, parents)
        for path in batch.deletes:
            ack = acks.get(path)
            if ack is not None and ack.ok:
                self._root ^= self._known.pop(path, 0)
        if done.fields.get("digest") != f"{self._root:x}":
            raise self._lose("the volume holds something else than was acknowledged")

    def _know(self, entry: Entry, parents: set[str]) -> None:
        """Notes an entry, the folders that the agent made for it, and what it replaced.

        `parents` are the folders that this batch has noted already; a file that takes a folder's place removes those.
        """
        assert self._known is not None
        before = self._known.get(entry.path)
        if entry.kind == "file" and before is not None and before == _number(Entry(entry.path, "folder")):
            for path in [path for path in self._known if path.startswith(entry.path + "/")]:
                self._root ^= self._known.pop(path)
            parents.clear()
        number = _number(entry)
        self._root ^= (before or 0) ^ number
        self._known[entry.path] = number
        folder = entry.path.rpartition("/")[0]
        while "/" in folder and folder not in parents:
            parents.add(folder)
            number = _number(Entry(folder, "folder"))
            self._root ^= self._known.get(folder, 0) ^ number
            self._known[folder] = number
            folder = folder.rpartition("/")[0]


def _number(entry: Entry) -> int:
    return frames.fingerprint(entry.path, entry.kind, entry.digest, executable=entry.executable)


def _plain(options: AgentOptions) -> dict[str, Any]:
    plain = {name: getattr(options, name) for name in options.__dataclass_fields__}
    plain["check"] = options.check.model_dump()
    if options.linger is None:
        plain["linger"] = 0.0 if options.claim == options.airflow else _LINGER_SECONDS
    return plain


def _content(put: Put) -> bytes | Ack:
    """The file's content, or why it is not sent."""
    path = put.entry.path
    try:
        content = put.read()
    except PermissionError as error:
        return Ack(path, ok=False, reason="permission", error=f"cannot be read: {error.strerror}")
    except OSError as error:
        return Ack(path, ok=False, reason="changed", error=f"cannot be read: {error.strerror}")
    if hashlib.sha256(content).hexdigest() != put.entry.digest:
        return Ack(path, ok=False, reason="changed", error="the file changed while it was read")
    return content


def _put_frames(entry: Entry, content: bytes) -> Sequence[bytes] | Any:
    view = memoryview(content)
    yield frames.encode(
        "put",
        bytes(view[:_CHUNK]),
        path=entry.path,
        digest=entry.digest,
        executable=entry.executable,
        last=len(view) <= _CHUNK,
    )
    for start in range(_CHUNK, len(view), _CHUNK):
        yield frames.encode("chunk", bytes(view[start : start + _CHUNK]), last=start + _CHUNK >= len(view))


def _paths(batch: Batch) -> list[str]:
    return [
        *(entry.path for entry in batch.folders),
        *(put.entry.path for put in batch.puts),
        *(entry.path for entry in batch.modes),
        *batch.deletes,
    ]


def _rows(frame: Frame, kinds: tuple[type, ...]) -> list[tuple[Any, ...]]:
    """The rows of a payload that have just these types; whatever else is there is nonsense.

    Raises:
        FrameError: it is not a list of such rows.
    """
    raw = frame.json()
    if not isinstance(raw, list):
        raise FrameError(f"the payload of {frame.type!r} is no list")
    for row in raw:
        fits = isinstance(row, list) and len(row) == len(kinds)
        if not fits or not all(type(item) is kind for item, kind in zip(row, kinds, strict=True)):
            raise FrameError(f"a row of {frame.type!r} has the wrong shape")
    return [tuple(row) for row in raw]


def _report(raw: Mapping[str, Any]) -> SchedulerReport:
    errors, parsed, at = raw.get("errors"), raw.get("parsed"), raw.get("at")
    verdicts = (
        [Verdict.from_json(item) for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
    )
    return SchedulerReport(
        errors={verdict.file: verdict for verdict in verdicts},
        parsed={
            str(path)[:4096]: float(when)
            for path, when in (parsed.items() if isinstance(parsed, dict) else ())
            if isinstance(when, (int, float))
        },
        at=float(at) if isinstance(at, (int, float)) else 0.0,
    )
