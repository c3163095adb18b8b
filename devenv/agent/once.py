"""The agent without a session, for `kubectl cp`: one request on standard input, one answer on standard output.

The files of a batch were copied beside the claim's own state before (`.devenv/NAME`, numbered); here they take their
places by the same rules as in a session: temporary name, digest, rename, ledger, lock.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import time
from typing import Any, Callable, Dict, List

from devenv.agent.claim import STATE, Claim
from devenv.agent.refusal import Refused, refusal

MARK = "devenv-answer:"
_CHUNK = 1048576


def answer(request: Dict[str, Any]) -> Dict[str, Any]:
    """Does what is asked (`manifest`, `apply` or `touch`) and says how it went."""
    try:
        take_over = bool(request.get("take_over"))
        claim = Claim(request["claim"], request["roots"], request["owner"], take_over=take_over)
    except Refused as error:
        return {"refused": error.reason, "message": str(error)}
    try:
        done = {"manifest": _manifest, "apply": _apply, "touch": _touch}[request["do"]](claim, request)
    finally:
        claim.close()
    done["clock"] = time.time()
    return done


def _manifest(claim: Claim, _request: Dict[str, Any]) -> Dict[str, Any]:
    rows = [[path, held.kind, held.digest, held.size, held.executable] for path, held in claim.ledger.items()]
    return {"entries": rows}


def _touch(claim: Claim, request: Dict[str, Any]) -> Dict[str, Any]:
    for path in request["paths"]:
        claim.touch(path)
    return {}


def _apply(claim: Claim, request: Dict[str, Any]) -> Dict[str, Any]:
    incoming = os.path.join(request["claim"], STATE, os.path.basename(request["incoming"]))
    acks: List[List[str]] = []

    def attempt(path: str, change: Callable[[], None]) -> None:
        try:
            change()
            acks.append([path, "", ""])
        except Refused as error:
            acks.append([path, error.reason, str(error)])
        except OSError as error:
            why = refusal(error)
            acks.append([path, why.reason, str(why)])

    try:
        for path in request["folders"]:
            attempt(path, functools.partial(claim.make_folder, path))
        for number, (path, digest, executable) in enumerate(request["puts"]):
            source = os.path.join(incoming, str(number))
            attempt(path, functools.partial(_put, claim, source, path, digest, executable=executable))
        for path, executable in request["modes"]:
            attempt(path, functools.partial(claim.set_mode, path, executable=executable))
        for path in request["deletes"]:
            attempt(path, functools.partial(claim.delete, path))
        claim.settle()
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return {"acks": acks}


def _put(claim: Claim, source: str, path: str, digest: str, *, executable: bool) -> None:
    with open(source, "rb") as stream:
        writing = claim.put(path, digest, executable=executable)
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            writing.write(chunk)
        writing.finish()


def main() -> None:
    """Reads the request and writes the answer, after a mark: an interpreter may print things of its own."""
    request = json.loads(sys.stdin.buffer.read().decode("utf-8"))
    sys.stdout.write(MARK + json.dumps(answer(request)) + "\n")
    sys.stdout.flush()
