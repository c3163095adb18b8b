"""The language that the laptop and the agent speak, in both directions, over one stream of bytes.

A frame is 8 bytes (`>II`: length of the header, length of the payload), a header (a JSON object with `type`) and
a payload (bytes, often empty). Both lengths have hard limits; whoever receives a frame beyond them, or one that is
no JSON object, ends the session. The agent's first bytes are `PREAMBLE`: what a shell or an interpreter printed
before it is skipped.

From the laptop (`id` is a number that the answer repeats as `re`):

    hello      owner, roots, options                                 → welcome, or refused (reason, message)
    manifest   id                                                    → entries (payload)…, then done
    folder     path                                                  → in acks
    put        path, digest, size, executable, last; payload: bytes  → in acks
    chunk      last; payload: the next bytes of the put before it
    mode       path, executable                                      → in acks
    delete     path                                                  → in acks
    end        id: the batch is complete                             → acks (payload)…, then done (digest)
    touch      id, payload: paths                                    → done
    ping       id                                                    → done (clock)
    scheduler  id                                                    → done, payload: the report
    parse      id, payload: paths; none means all DAG files          → done (the verdicts follow)
    bye        the session is over

From the agent, unasked:

    alive      every few seconds, so that silence means a dead stream
    verdict    payload: one `Verdict` as JSON
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

PROTOCOL = 1
PREAMBLE = b"\x00\x00devenv-agent\x00\x00"
PREAMBLE_WITHIN = 65_536
HEADER_LIMIT = 65_536
PAYLOAD_LIMIT = 1_048_576
ITEMS_PER_FRAME = 1_000
_LENGTHS = struct.Struct(">II")
compact_json = json.JSONEncoder(separators=(",", ":")).encode
"""An encoder made once: `json.dumps` with separators would make one for each of ten thousand frames."""


class FrameError(Exception):
    """The other side sent something that is no frame."""


class Frame(NamedTuple):
    """One message: its type, the other fields of its header, its payload."""

    type: str
    fields: Dict[str, Any]
    payload: bytes

    def json(self) -> Any:
        """The payload as JSON.

        Raises:
            FrameError: it is none.
        """
        try:
            return json.loads(self.payload.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise FrameError(f"the payload of {self.type!r} is no JSON") from error


def encode(kind: str, payload: bytes = b"", **fields: Any) -> bytes:
    """A frame as bytes.

    Raises:
        FrameError: it is beyond the limits.
    """
    fields["type"] = kind
    header = compact_json(fields).encode()
    if len(header) > HEADER_LIMIT or len(payload) > PAYLOAD_LIMIT:
        raise FrameError(f"a frame {kind!r} of {len(header)} + {len(payload)} bytes is too long")
    return _LENGTHS.pack(len(header), len(payload)) + header + payload


def encode_items(kind: str, items: List[Any], **fields: Any) -> Iterator[bytes]:
    """A list as several frames, each with as many items in its payload as fit."""
    for start in range(0, len(items), ITEMS_PER_FRAME):
        piece = items[start : start + ITEMS_PER_FRAME]
        payload = compact_json(piece).encode()
        if len(payload) <= PAYLOAD_LIMIT:
            yield encode(kind, payload, **fields)
            continue
        for item in piece:  # names of thousands of characters: one by one they do fit
            yield encode(kind, compact_json([item]).encode(), **fields)


class Decoder:
    """Takes bytes as they arrive and gives back whole frames; holds at most one unfinished frame."""

    def __init__(self, *, preamble: bool = False) -> None:
        """With `preamble`, skips what comes before `PREAMBLE`."""
        self._buffer = bytearray()
        self._taken = 0
        self._searching = preamble

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete.

        Raises:
            FrameError: the stream is no stream of frames; it must be given up.
        """
        self._buffer += data
        if self._searching and not self._found():
            return
        while True:
            frame = self._next()
            if frame is None:
                del self._buffer[: self._taken]
                self._taken = 0
                return
            yield frame

    def skipped(self) -> bytes:
        """What arrived while the preamble had not: an interpreter's last words, perhaps."""
        return bytes(self._buffer[:4096]) if self._searching else b""

    def _found(self) -> bool:
        at = self._buffer.find(PREAMBLE)
        if at < 0:
            if len(self._buffer) > PREAMBLE_WITHIN:
                raise FrameError("what answers is not the agent")
            return False
        del self._buffer[: at + len(PREAMBLE)]
        self._searching = False
        return True

    def _next(self) -> Optional[Frame]:
        start = self._taken + _LENGTHS.size
        if len(self._buffer) < start:
            return None
        header_length, payload_length = _LENGTHS.unpack_from(self._buffer, self._taken)
        if header_length > HEADER_LIMIT or payload_length > PAYLOAD_LIMIT:
            raise FrameError(f"a frame of {header_length} + {payload_length} bytes is beyond the limits")
        middle, end = start + header_length, start + header_length + payload_length
        if len(self._buffer) < end:
            return None
        header = self._buffer[start:middle]
        payload = bytes(self._buffer[middle:end])
        self._taken = end
        try:
            fields = json.loads(header.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise FrameError("a frame's header is no JSON") from error
        if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
            raise FrameError("a frame's header has no type")
        return Frame(fields.pop("type"), fields, payload)


def fingerprint(path: str, kind: str, digest: str, *, executable: bool) -> int:
    """One entry of a manifest as a number; all of them combined by exclusive or are the manifest's root digest.

    So that either side keeps the root digest up to date with each change, without hashing the whole manifest.
    """
    text = "\0".join((path, kind, digest, "x" if executable else "-"))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:16], "big")


def safe_parts(path: object) -> Tuple[str, ...]:
    """The names along a path `ROOT/…`, or () when it is none that may be written.

    Refused: what is no text, absolute, empty, has a NUL, an empty name, `.` or `..`, or a name or path longer than a
    Linux file system takes.
    """
    if not isinstance(path, str) or not path or "\0" in path:
        return ()
    try:
        if len(path.encode("utf-8", "surrogateescape")) > 4000:
            return ()
    except UnicodeEncodeError:
        return ()
    parts = tuple(path.split("/"))
    if "" in parts or "." in parts or ".." in parts:
        return ()
    if any(len(part) > 63 and len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts):
        return ()
    return parts
