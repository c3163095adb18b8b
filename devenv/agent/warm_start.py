"""A process that has Airflow imported, and forks: how it is found or started, and how it begins to serve."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import socket
import subprocess
import sys
from typing import Any, Callable, Iterator, List, Mapping, Protocol, Tuple

from devenv.agent import frames

_START_SECONDS = 180.0
_PROGRAM = """\
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
module = importlib.import_module(sys.argv[2])
sys.path.remove(sys.argv[1])
sys.path[:] = [folder for folder in sys.path if folder]  # Airflow's own processes have no working folder there
module.main(sys.argv[3], json.loads(sys.argv[4]), int(sys.argv[5]))
"""


def connect(module: str, options: Mapping[str, Any]) -> socket.socket:
    """A connection to the process that runs a module with these options; others of the same claim are ended.

    Args:
        module: its `main` takes the path to listen at, the options, and a descriptor on which to say that it is ready.
        options: JSON; `folders` names the claim.

    Raises:
        RuntimeError: it does not start; the text has its last words.
        OSError: nor does it answer.
    """
    path = _path(module, options)
    with contextlib.suppress(OSError):
        return _open(path)
    _end_others(path)
    _start(path, module, options)
    return _open(path)


class Service(Protocol):
    """What a warm process does."""

    def run(self) -> None:
        """Serves until it is over."""

    def close(self) -> None:
        """Ends what is running."""


def serve(path: str, ready: int, make: Callable[[socket.socket], Service]) -> None:
    """Listens at `path`, in the process that was started, until its service is over.

    Args:
        path: where; it appears once the service is made, and goes with it.
        ready: the descriptor on which a byte says that it serves.
        make: imports Airflow and makes the service, which accepts connections from the socket.
    """
    temporary = f"{path}.{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        service = make(listener)
        try:
            listener.bind(temporary)
            listener.listen(4)
            os.replace(temporary, path)
            os.write(ready, b"1")
            os.close(ready)
            service.run()
        finally:
            service.close()
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def configuration_version() -> Tuple[Any, ...]:
    """The version of airflow.cfg; a warm process that was started with another one is replaced."""
    path = os.environ.get("AIRFLOW_CONFIG") or os.path.join(
        os.environ.get("AIRFLOW_HOME") or os.path.expanduser("~/airflow"), "airflow.cfg"
    )
    try:
        now = os.stat(path)
    except OSError:
        return ()
    return (now.st_mtime_ns, now.st_size)


def program_place() -> Tuple[str, str]:
    """The path from which this program is imported, and a folder of ours for sockets."""
    program = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return program, os.path.dirname(program)


def _path(module: str, options: Mapping[str, Any]) -> str:
    """Where it listens: one per claim, module, program, options, Airflow configuration and set of packages."""
    program, folder = program_place()
    packages: List[Tuple[str, float]] = []
    for place in sys.path:
        with contextlib.suppress(OSError):
            if place != program and "-packages" in place:
                packages.append((place, os.stat(place).st_mtime))
    configuration = sorted(
        (name, value) for name, value in os.environ.items() if name.startswith(("AIRFLOW", "PYTHON"))
    )
    whole = json.dumps([program, options, packages, configuration, sys.executable], sort_keys=True, default=str)
    claim = hashlib.sha256(json.dumps(options["folders"], sort_keys=True).encode()).hexdigest()[:8]
    name = f"{module.rpartition('.')[2]}-{claim}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}.sock"
    return os.path.join(folder, name)


def _end_others(path: str) -> None:
    """Ends processes of the same module and claim with an older program or configuration."""
    folder, name = os.path.split(path)
    prefix = name.rpartition("-")[0]
    for other in os.listdir(folder):
        if other.endswith(".sock") and other != name and other.rpartition("-")[0] == prefix:
            with contextlib.suppress(OSError):
                connection = _open(os.path.join(folder, other))
                connection.sendall(frames.encode("quit"))
                connection.close()


def _start(path: str, module: str, options: Mapping[str, Any]) -> None:
    program, _folder = program_place()
    ready, signal_ready = os.pipe()
    log_path = path + ".log"
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    variables = dict(os.environ)
    variables["PYTHONDONTWRITEBYTECODE"] = "1"
    variables.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")  # 3.x: Variables are read as in the dag-processor
    if sys.platform == "darwin":
        variables.update({"OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES", "no_proxy": "*"})
    try:
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, program, module, path, json.dumps(options), str(signal_ready)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=variables,
            pass_fds=(signal_ready,),
            start_new_session=True,
        )
    finally:
        os.close(log)
        os.close(signal_ready)
    try:
        found, _, _ = select.select([ready], [], [], _START_SECONDS)
        if not found or os.read(ready, 1) != b"1":
            raise RuntimeError(f"the process that has Airflow loaded does not start: {_tail(log_path)}")
    finally:
        os.close(ready)


def _open(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            text = stream.read()[-8_000:].decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(_meaningful(text))[-1_500:]


def _meaningful(text: str) -> Iterator[str]:
    """The last lines, which say what went wrong."""
    yield from [line for line in text.splitlines() if line.strip()][-6:]
