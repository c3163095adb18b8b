"""One session with the laptop: reads frames from standard input, changes the claim, answers on standard output."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
import time
from typing import Any, Dict, List, Optional

from devenv.agent import frames
from devenv.agent.claim import Claim, Writing
from devenv.agent.frames import Decoder, Frame, FrameError
from devenv.agent.refusal import Refused
from devenv.agent.warm import MANY, WarmProcess

_ALIVE_SECONDS = 4.0
_SILENCE_SECONDS = 60.0
"""Without a sign of the laptop for so long (it sleeps, the stream is dead), the session ends and frees the claim."""
_ACKS_AT_ONCE = 256


class Outgoing:
    """Frames to the laptop, from any thread, whole and in order."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._guard = threading.Lock()

    def send(self, kind: str, payload: bytes = b"", **fields: Any) -> None:
        """Sends a frame; blocks while the laptop does not read.

        Raises:
            OSError: the laptop is gone.
        """
        self.raw(frames.encode(kind, payload, **fields))

    def raw(self, data: bytes) -> None:
        """Sends bytes that are frames already."""
        with self._guard:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]


class Session:
    """What is open for one laptop: the claim, its lock, the warm process."""

    def __init__(self, outgoing: Outgoing, hello: Frame) -> None:
        """Takes the claim.

        Raises:
            Refused: the claim is another's, or cannot be used.
        """
        fields = hello.fields
        options = fields.get("options")
        roots = fields.get("roots")
        owner = fields.get("owner")
        if fields.get("protocol") != frames.PROTOCOL:
            raise Refused("protocol", "the laptop speaks another protocol than this agent")
        if not (isinstance(options, dict) and isinstance(roots, list) and isinstance(owner, dict)):
            raise Refused("protocol", "hello lacks owner, roots or options")
        self._out = outgoing
        self._acks: List[List[Any]] = []
        self._writing: Optional[Writing] = None
        self._put: Dict[str, Any] = {}
        self._failed = ""
        self._changed: List[str] = []
        self._deleted: List[str] = []
        self._held: Optional[Claim] = None
        if options.get("claim"):
            self._held = Claim(
                str(options["claim"]),
                [str(root) for root in roots],
                owner,
                take_over=bool(options.get("take_over")),
            )
        self._warm: Optional[WarmProcess] = None
        if options.get("verdicts"):
            self._warm = WarmProcess(options, roots, outgoing, self._held)

    def close(self) -> None:
        """Frees the claim; the warm process stays for the next session."""
        if self._writing is not None:
            self._writing.abandon()
        if self._warm is not None:
            self._warm.close()
        if self._held is not None:
            self._held.close()

    @property
    def _claim(self) -> Claim:
        if self._held is None:
            raise FrameError("nothing can be written in a session without a claim")
        return self._held

    def handle(self, frame: Frame) -> bool:
        """Does what a frame asks; False when the session is over.

        Raises:
            FrameError: the frame makes no sense here.
            OSError: the laptop is gone.
        """
        if frame.type == "bye":
            return False
        handler = getattr(self, "_on_" + frame.type, None)
        if handler is None:
            raise FrameError(f"there is no frame {frame.type!r}")
        handler(frame)
        return True

    # Changes

    def _on_folder(self, frame: Frame) -> None:
        path = _text(frame, "path")
        self._try(path, lambda: self._claim.make_folder(path))

    def _on_put(self, frame: Frame) -> None:
        if self._writing is not None:
            self._writing.abandon()
            raise FrameError("a put began before the one before it was complete")
        self._put = {"path": _text(frame, "path"), "last": frame.fields.get("last")}
        digest, executable = _text(frame, "digest"), bool(frame.fields.get("executable"))
        self._failed = ""
        try:
            self._writing = self._claim.put(self._put["path"], digest, executable=executable)
        except Refused as refused:
            self._fail(refused)
        self._on_chunk(frame)

    def _on_chunk(self, frame: Frame) -> None:
        """Bytes of the file being written; of a file that was refused, the rest is read and thrown away."""
        if not self._put:
            raise FrameError("a chunk of no put")
        last = bool(frame.fields.get("last"))
        if self._writing is not None:
            try:
                self._writing.write(frame.payload)
                if last:
                    self._writing.finish()
                    self._changed.append(self._put["path"])
                    if self._warm is not None and len(self._changed) == MANY:
                        self._warm.hold()
                    self._ack(self._put["path"])
            except Refused as refused:
                self._fail(refused)
        if last:
            self._writing, self._put = None, {}

    def _fail(self, refused: Refused) -> None:
        self._writing = None
        self._ack(self._put["path"], refused)

    def _on_mode(self, frame: Frame) -> None:
        path = _text(frame, "path")
        executable = bool(frame.fields.get("executable"))
        self._try(path, lambda: self._claim.set_mode(path, executable=executable))

    def _on_delete(self, frame: Frame) -> None:
        path = _text(frame, "path")
        if self._try(path, lambda: self._claim.delete(path)):
            self._deleted.append(path)

    def _try(self, path: str, change: Any) -> bool:
        try:
            change()
        except Refused as refused:
            self._ack(path, refused)
            return False
        self._ack(path)
        return True

    def _ack(self, path: str, refused: Optional[Refused] = None) -> None:
        self._acks.append([path, refused.reason if refused else "", str(refused) if refused else ""])
        if len(self._acks) >= _ACKS_AT_ONCE:
            self._flush_acks()

    def _flush_acks(self) -> None:
        for data in frames.encode_items("acks", self._acks):
            self._out.raw(data)
        self._acks = []

    def _on_end(self, frame: Frame) -> None:
        self._flush_acks()
        self._out.send("done", re=frame.fields.get("id"), digest=f"{self._claim.ledger.root_digest:x}")
        self._claim.settle()
        changed, deleted = self._changed, self._deleted
        self._changed, self._deleted = [], []
        if self._warm is not None and (changed or deleted):
            self._warm.look(changed, deleted)

    # Questions

    def _on_manifest(self, frame: Frame) -> None:
        self._claim.verify()
        entries = [
            [path, held.kind, held.digest, held.size, held.executable] for path, held in self._claim.ledger.items()
        ]
        for data in frames.encode_items("entries", entries, re=frame.fields.get("id")):
            self._out.raw(data)
        self._out.send("done", re=frame.fields.get("id"), digest=f"{self._claim.ledger.root_digest:x}")

    def _on_touch(self, frame: Frame) -> None:
        touched = [path for path in _paths(frame) if self._claim.touch(path)]
        self._claim.settle()
        self._out.send("done", re=frame.fields.get("id"), touched=len(touched))

    def _on_ping(self, frame: Frame) -> None:
        self._out.send("done", re=frame.fields.get("id"), clock=time.time())

    def _on_parse(self, frame: Frame) -> None:
        paths = _paths(frame)
        if self._warm is None:
            self._out.send("done", re=frame.fields.get("id"))
        else:
            self._warm.parse(frame.fields.get("id"), paths)

    def _on_scheduler(self, frame: Frame) -> None:
        if self._warm is None:
            self._out.send("done", b"{}", re=frame.fields.get("id"))
        else:
            self._warm.scheduler(frame.fields.get("id"))


def serve(source: int, target: int) -> None:
    """Speaks with one laptop until it leaves, falls silent, or sends nonsense."""
    outgoing = Outgoing(target)
    outgoing.raw(frames.PREAMBLE)
    decoder = Decoder()
    session: Optional[Session] = None
    ended = threading.Event()
    try:
        threading.Thread(target=_say_alive, args=(outgoing, ended), name="alive", daemon=True).start()
        while True:
            ready, _, _ = select.select([source], [], [], _SILENCE_SECONDS)
            data = os.read(source, 1_048_576) if ready else b""
            if not data:
                return
            for frame in decoder.feed(data):
                if session is None:
                    session = _welcome(outgoing, frame)
                    if session is None:
                        return
                elif not session.handle(frame):
                    return
    except FrameError as error:
        _last_words(outgoing, str(error))
    except OSError as error:
        _last_words(outgoing, f"the agent cannot go on: {error}")
    finally:
        ended.set()
        if session is not None:
            session.close()


def _welcome(outgoing: Outgoing, hello: Frame) -> Optional[Session]:
    if hello.type != "hello":
        raise FrameError("the first frame is no hello")
    try:
        session = Session(outgoing, hello)
    except Refused as refused:
        outgoing.send("refused", reason=refused.reason, message=str(refused))
        return None
    version = ".".join(str(part) for part in sys.version_info[:3])
    outgoing.send("welcome", clock=time.time(), pid=os.getpid(), python=version)
    return session


def _say_alive(outgoing: Outgoing, ended: threading.Event) -> None:
    with contextlib.suppress(OSError):  # the laptop is gone: the reader notices too
        while not ended.wait(_ALIVE_SECONDS):
            outgoing.send("alive")


def _last_words(outgoing: Outgoing, message: str) -> None:
    with contextlib.suppress(OSError):  # the laptop is gone: there is nobody to tell
        outgoing.send("refused", reason="protocol", message=message)


def _text(frame: Frame, name: str) -> str:
    value = frame.fields.get(name)
    if not isinstance(value, str):
        raise FrameError(f"{frame.type!r} lacks {name!r}")
    return value


def _paths(frame: Frame) -> List[str]:
    raw = frame.json() if frame.payload else []
    if not isinstance(raw, list) or not all(isinstance(path, str) for path in raw):
        raise FrameError(f"the payload of {frame.type!r} is no list of paths")
    return raw


def main() -> None:
    """Runs the agent on the standard streams.

    Whatever is printed goes to standard error: standard output carries frames alone.
    """
    target = os.dup(1)
    os.dup2(2, 1)
    serve(0, target)
