"""The agent's end of the warm process: finds the one that is there or starts it, asks it, passes its verdicts on."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from typing import Any, Dict, List, Mapping, Optional, Set

from devenv.agent import frames
from devenv.agent.frames import Decoder, FrameError
from devenv.agent.warm_start import connect

_BACK_OFF = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the process is started again; from the start again once one lived for `_LASTING_SECONDS`."""
_LASTING_SECONDS = 30.0
MANY = 100
"""As many files in a batch are parsed after the batch, not beside it, and give way to later saves."""


class WarmProcess:
    """Requests may be made at once; they are answered when the process is up."""

    def __init__(self, options: Mapping[str, Any], roots: List[str], outgoing: Any, claim: Any) -> None:
        """Begins to look for it, or to start it.

        Args:
            options: of `AgentOptions`.
            roots: names of the synced roots.
            outgoing: where frames to the laptop go (`Outgoing`).
            claim: where files are touched (`Claim`), or None when nothing may be written.
        """
        folders = options.get("folders")
        self._options = {
            "folders": folders or {root: os.path.join(str(options.get("airflow")), root) for root in roots},
            "dags": options.get("dags", "dags"),
            "check": options.get("check") or {},
            "parallel": max(1, min(8, int(options.get("parallel") or 2))),
            "safe_mode": options.get("safe_mode"),
            "linger": float(options.get("linger") or 0.0),
            "vault_mount": str(options.get("vault_mount") or "secret"),
        }
        self._out = outgoing
        self._claim = claim
        self._guard = threading.Lock()
        self._connection: Optional[socket.socket] = None
        self._pending: List[bytes] = []
        # Questions that the process was asked: they are asked again of its successor.
        self._unanswered: Dict[Any, bytes] = {}
        self._reports: Set[Any] = set()
        self._complaint = ""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="warm process", daemon=True)
        self._thread.start()

    def hold(self) -> None:
        """Many paths are being written: what waits to be parsed waits until they were looked at."""
        self._ask(frames.encode("hold"))

    def look(self, changed: List[str], deleted: List[str]) -> None:
        """These paths were written or removed."""
        for start in range(0, max(len(changed), len(deleted)), 2_000):
            piece: Dict[str, Any] = {"changed": changed[start : start + 2_000]}
            piece.update(deleted=deleted[start : start + 2_000], many=len(changed) >= MANY)
            self._ask(frames.encode("look", json.dumps(piece).encode()))

    def parse(self, number: Any, paths: List[str]) -> None:
        """Parses these files, or all; `done` follows the last verdict."""
        frame = frames.encode("parse", json.dumps(paths).encode(), id=number)
        with self._guard:
            self._unanswered[number] = frame
            if self._connection is not None:
                with contextlib.suppress(OSError):  # it died just now; its successor is asked
                    self._connection.sendall(frame)

    def scheduler(self, number: Any) -> None:
        """Asks for what the scheduler knows; the answer is empty while no process is there to ask the database."""
        with self._guard:
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.sendall(frames.encode("scheduler", id=number))
                    self._reports.add(number)
                    return
        self._out.send("done", _reason("the process that parses DAG files is starting"), re=number)

    def close(self) -> None:
        """Leaves the process to the next session."""
        self._closed.set()
        with self._guard:
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def _ask(self, frame: bytes) -> None:
        with self._guard:
            if self._connection is None:
                self._pending.append(frame)
                return
            try:
                self._connection.sendall(frame)
            except OSError:
                self._pending.append(frame)  # it died just now; its successor is asked

    def _run(self) -> None:
        attempt = 0
        with contextlib.suppress(OSError):  # the laptop is gone
            while not self._closed.wait(_BACK_OFF[min(attempt, len(_BACK_OFF) - 1)]):
                attempt += 1
                try:
                    connection = connect("devenv.agent.parser", self._options)
                except (OSError, RuntimeError) as error:
                    self._complain(str(error))
                    continue
                began = time.monotonic()
                self._serve(connection)
                if time.monotonic() - began > _LASTING_SECONDS:
                    attempt = 0
                elif attempt == len(_BACK_OFF):
                    self._complain("the process that parses DAG files ended several times in a row")

    def _serve(self, connection: socket.socket) -> None:
        """Passes frames on until the process or the session ends."""
        try:
            with self._guard:
                ahead = [frames.encode("attach")] if self._claim is not None else []
                for frame in [*ahead, *self._pending, *self._unanswered.values()]:
                    connection.sendall(frame)
                self._pending.clear()
                self._connection = connection
            decoder = Decoder()
            while True:
                data = connection.recv(1_048_576)
                if not data:
                    break
                for one in decoder.feed(data):
                    self._pass_on(one)
        except (ConnectionError, FrameError):
            pass  # it died: the next one is attached to and looks at everything
        finally:
            with self._guard:
                self._connection = None
                reports, self._reports = self._reports, set()
            connection.close()
            for number in reports:
                self._out.send("done", _reason("the process that parses DAG files ended"), re=number)

    def _pass_on(self, frame: frames.Frame) -> None:
        if frame.type == "verdict":
            self._out.send("verdict", frame.payload)
        elif frame.type == "ready":
            self._recover()
        elif frame.type == "done":
            number = frame.fields.get("re")
            self._unanswered.pop(number, None)
            self._reports.discard(number)
            self._out.send("done", frame.payload, **frame.fields)
        elif frame.type == "touch" and self._claim is not None:
            for path in frame.json():
                self._claim.touch(path)
            self._claim.settle()

    def _complain(self, message: str) -> None:
        """Says once why there are no verdicts, as a verdict on the DAG folder, and answers whoever waits for one."""
        if message != self._complaint:
            self._complaint = message
            found = {
                "rule": "no-verdicts",
                "severity": "error",
                "message": message,
                "hint": "devenv doctor; the start is tried again, and files are synced meanwhile",
            }
            self._judge_folder([found])
        for number in list(self._unanswered):
            self._unanswered.pop(number)
            self._out.send("done", _reason(message), re=number)

    def _recover(self) -> None:
        """Takes the complaint back."""
        if self._complaint:
            self._complaint = ""
            self._judge_folder([])

    def _judge_folder(self, problems: List[Dict[str, Any]]) -> None:
        payload = {"file": self._options["dags"], "problems": problems, "speaker": "agent"}
        self._out.send("verdict", json.dumps(payload).encode())


def _reason(text: str) -> bytes:
    return json.dumps({"reason": text}).encode()
