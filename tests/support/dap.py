"""A small client of the Debug Adapter Protocol, as an editor speaks it with debugpy.

https://microsoft.github.io/debug-adapter-protocol/specification
"""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any


class DapClient:
    """One session to an adapter on 127.0.0.1; requests are answered in order, events are kept until asked for."""

    def __init__(self, port: int, *, seconds: float = 60.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
        self._stream = self._socket.makefile("rb")
        self._sequence = 0
        self._events: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> DapClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._socket.close()

    def attach(self, mappings: dict[str, str], breakpoints: dict[str, list[int]]) -> None:
        """Attaches with breakpoints: file here → lines; the program goes on."""
        self.request("initialize", {"adapterID": "debugpy", "pathFormat": "path", "linesStartAt1": True})
        roots = [{"localRoot": here, "remoteRoot": there} for here, there in mappings.items()]
        attach = self.send("attach", {"justMyCode": True, "pathMappings": roots})
        self.event("initialized")
        for file, lines in breakpoints.items():
            points = [{"line": line} for line in lines]
            self.request("setBreakpoints", {"source": {"path": file}, "breakpoints": points})
        self.request("configurationDone")
        self.answer(attach)

    def frame(self, thread: int) -> dict[str, Any]:
        """The innermost frame of a thread that stopped."""
        frames = self.request("stackTrace", {"threadId": thread, "levels": 1})["stackFrames"]
        found: dict[str, Any] = frames[0]
        return found

    def variables(self, frame: int) -> dict[str, str]:
        """The local variables of a frame."""
        scopes = self.request("scopes", {"frameId": frame})["scopes"]
        reference = next(scope for scope in scopes if scope["name"] == "Locals")["variablesReference"]
        listed = self.request("variables", {"variablesReference": reference})["variables"]
        return {each["name"]: each["value"] for each in listed}

    def request(self, command: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        """Sends a request, and returns its answer's body."""
        return self.answer(self.send(command, arguments))

    def send(self, command: str, arguments: dict[str, Any] | None = None) -> int:
        """Sends a request, and returns its number."""
        self._sequence += 1
        message = {"seq": self._sequence, "type": "request", "command": command, "arguments": arguments or {}}
        body = json.dumps(message).encode()
        self._socket.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return self._sequence

    def answer(self, number: int) -> dict[str, Any]:
        """The body of the answer to a request."""
        while number not in self._answers:
            self._take()
        answer = self._answers.pop(number)
        assert answer["success"], answer
        body: dict[str, Any] = answer.get("body") or {}
        return body

    def event(self, name: str) -> dict[str, Any]:
        """The body of the next event of this name."""
        while not (found := [event for event in self._events if event["event"] == name]):
            self._take()
        self._events.remove(found[0])
        body: dict[str, Any] = found[0].get("body") or {}
        return body

    def _take(self) -> None:
        length = 0
        while (line := self._stream.readline().strip()) or not length:
            assert line or length, "the adapter has left"
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        message = json.loads(self._stream.read(length))
        if message["type"] == "event":
            self._events.append(message)
        elif message["type"] == "response":
            self._answers[message["request_seq"]] = message
