"""What a DAG file does while it is parsed: what it reads, whom it calls, where its time goes.

Everything here is set up in the process that was forked for one parse and ends with it, so nothing is undone.
"""

from __future__ import annotations

import collections
import functools
import os
import sys
import threading
import time
from types import FrameType
from typing import Any, Callable, Counter, Dict, List, Optional, Set, Tuple

from devenv.agent.places import Places
from devenv.agent.problems import DatabaseForbidden

_SAMPLE_SECONDS = 0.01
_CALLS_LIMIT = 20
_FILES_LIMIT = 5_000


class Observer:
    """The findings of one parse.

    Attributes:
        files: files below the roots that were opened, or looked for in vain: `dags/config/shops.yaml`.
        folders: folders below the roots that were listed.
        calls: network and database calls: (file, line, whom).
        missing: Variables and Connections that were asked for and not found.
    """

    def __init__(self, places: Places) -> None:
        self._places = places
        self.files: Set[str] = set()
        self.folders: Set[str] = set()
        self.calls: List[Tuple[str, int, str]] = []
        self.missing: List[Tuple[str, str]] = []
        self._asking = ""
        self._samples: Counter[Tuple[str, int, str]] = collections.Counter()
        self._stop = threading.Event()
        self._events: Dict[str, Callable[[Tuple[Any, ...]], None]] = {
            "open": self._opened,
            "os.listdir": self._listed,
            "os.scandir": self._listed,
            "socket.connect": self._connected,
            "socket.getaddrinfo": self._resolved,
            "socket.gethostbyname": self._resolved,
            "sqlite3.connect": self._database,
        }

    def start(self, *, forbid_database: bool) -> None:
        """Begins to look, and keeps the file from the metadata database where its release does."""
        sys.addaudithook(self._audit)
        self._wrap_secrets()
        if forbid_database:
            self._forbid_database()
        self._wrap_drivers()
        self._main = threading.main_thread().ident
        threading.Thread(target=self._sample, name="devenv sampler", daemon=True).start()

    def stop(self) -> None:
        """Ends the sampling."""
        self._stop.set()

    def slowest(self) -> Tuple[str, int, str, float]:
        """File, line and callee where most of the time went, and its share; ("", 0, "", 0) when nothing was seen."""
        if not self._samples:
            return "", 0, "", 0.0
        by_line: Counter[Tuple[str, int]] = collections.Counter()
        for (file, line, _callee), count in self._samples.items():
            by_line[file, line] += count
        (file, line), count = by_line.most_common(1)[0]
        callees = {key[2]: number for key, number in self._samples.items() if key[:2] == (file, line)}
        return file, line, max(callees, key=lambda callee: callees[callee]), count / sum(by_line.values())

    # Audit events (sys.addaudithook): open, os.listdir, os.scandir, socket.*, sqlite3.connect

    def _audit(self, event: str, arguments: Tuple[Any, ...]) -> None:
        handler = self._events.get(event)
        if handler is not None and not self._stop.is_set():
            handler(arguments)

    def _opened(self, arguments: Tuple[Any, ...]) -> None:
        path = arguments[0]
        if isinstance(path, (str, bytes, os.PathLike)) and len(self.files) < _FILES_LIMIT:
            name = self._places.name(os.path.abspath(os.fsdecode(path)))
            if name is not None and not name.endswith(".pyc"):
                self.files.add(name)

    def _listed(self, arguments: Tuple[Any, ...]) -> None:
        caller = sys._getframe(2).f_code.co_filename  # noqa: SLF001
        if caller.startswith("<frozen importlib") or len(self.folders) >= _FILES_LIMIT:
            return
        path = arguments[0] if arguments and arguments[0] is not None else "."
        if isinstance(path, (str, bytes, os.PathLike)):
            whole = os.path.abspath(os.fsdecode(path))
            name = self._places.name(whole + "/")
            if name is not None:
                self.folders.add(name.rstrip("/"))

    def _connected(self, arguments: Tuple[Any, ...]) -> None:
        address = arguments[1] if len(arguments) > 1 else None
        if isinstance(address, tuple) and len(address) >= 2:
            self.called(f"{address[0]}:{address[1]}")

    def _resolved(self, arguments: Tuple[Any, ...]) -> None:
        host, port = (*arguments, None)[:2]
        self.called(f"{host}:{port}" if port else str(host))

    def _database(self, arguments: Tuple[Any, ...]) -> None:
        name = os.path.basename(str(arguments[0])) if arguments else ""
        self.called("the metadata database" if name == "airflow.db" else f"the SQLite database {name}")

    def called(self, whom: str) -> None:
        """Notes a call on behalf of the user's own code; Airflow's own calls are none of the file's."""
        place, callee = _own_frame(sys._getframe(1), self._places)  # noqa: SLF001
        if place is None or len(self.calls) >= _CALLS_LIMIT:
            return
        if not self._asking and callee.startswith("airflow.") and not callee.startswith(_ASKED_FOR):
            return  # Airflow asks for its own sake: a SubDagOperator for its pool, a DatasetAlias for itself
        whom = self._asking or whom
        if not any(call[:2] == place for call in self.calls):
            self.calls.append((place[0], place[1], whom))

    # Variables and Connections: the one place that each release asks all secrets backends through

    def _wrap_secrets(self) -> None:
        for module, owner, name, what in _LOOKUPS:
            holder: Any = sys.modules.get(module)
            if holder is not None and owner:
                holder = getattr(holder, owner, None)
            original = getattr(holder, name, None)
            if holder is not None and original is not None:
                wrapped = self._lookup(original, what)
                setattr(holder, name, staticmethod(wrapped) if owner else wrapped)

    def _lookup(self, original: Callable[..., Any], what: str) -> Callable[..., Any]:
        @functools.wraps(original)
        def asked(*arguments: Any, **named: Any) -> Any:
            name = str(arguments[0] if arguments else next(iter(named.values()), ""))
            before, self._asking = self._asking, f"{what.capitalize()} {name}"
            try:
                found = original(*arguments, **named)
            except Exception:
                self.missing.append((what, name))
                raise
            finally:
                self._asking = before
            if found is None:
                self.missing.append((what, name))
            return found

        return asked

    def _forbid_database(self) -> None:
        """As `block_orm_access` does in 3.2+; Airflow's own look for a Variable, of which the file knows nothing, may.

        (There, the manager asks the database in the file's place.)
        """
        settings: Any = sys.modules["airflow.settings"]
        original = settings.Session

        def session(*arguments: Any, **named: Any) -> Any:
            if not self._asking:
                raise DatabaseForbidden("Direct database access via the ORM is not allowed in Airflow 3.0")
            return original(*arguments, **named)

        def refuse(*_arguments: Any, **_named: Any) -> Any:
            raise DatabaseForbidden("Database access is disabled from Dags and Triggers")

        session.remove = original.remove  # type: ignore[attr-defined]
        settings.Session = session
        settings.configure_orm = refuse
        settings.NonScopedSession = refuse

    def _wrap_drivers(self) -> None:
        """Drivers in C raise no audit event when they connect."""
        for module in ("psycopg2", "psycopg", "pymysql", "MySQLdb", "pyodbc"):
            driver: Any = sys.modules.get(module)
            connect = getattr(driver, "connect", None)
            if driver is not None and callable(connect):
                driver.connect = self._connecting(connect, module)

    def _connecting(self, connect: Callable[..., Any], driver: str) -> Callable[..., Any]:
        @functools.wraps(connect)
        def connecting(*arguments: Any, **named: Any) -> Any:
            self.called(f"a database ({driver})")
            return connect(*arguments, **named)

        return connecting

    # Where the time goes

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            frame: Optional[FrameType] = sys._current_frames().get(self._main or 0)  # noqa: SLF001
            callee = ""
            while frame is not None:
                name = self._places.name(frame.f_code.co_filename)
                if name is not None:
                    self._samples[name, frame.f_lineno, callee] += 1
                    break
                module = frame.f_globals.get("__name__", "")
                if not module.startswith("importlib"):
                    callee = f"{module}.{frame.f_code.co_name}"
                frame = frame.f_back


_LOOKUPS = (
    ("airflow.models.variable", "Variable", "get_variable_from_secrets", "variable"),
    ("airflow.models.connection", "Connection", "get_connection_from_secrets", "connection"),
    ("airflow.sdk.execution_time.context", "", "_get_variable", "variable"),
    ("airflow.sdk.execution_time.context", "", "_get_connection", "connection"),
)


_ASKED_FOR = (
    "airflow.utils.session",
    "airflow.settings",
    "airflow.hooks",
    "airflow.providers",
    "airflow.sdk.bases.hook",
)
"""Modules of Airflow by which a file asks a database or a service itself."""


def _own_frame(frame: Optional[FrameType], places: Places) -> Tuple[Optional[Tuple[str, int]], str]:
    """File and line of the innermost frame of the user's own, and the module that it called."""
    callee = ""
    while frame is not None:
        name = places.name(frame.f_code.co_filename)
        if name is not None:
            return (name, frame.f_lineno), callee
        callee = str(frame.f_globals.get("__name__", ""))
        frame = frame.f_back
    return None, ""


def elapsed(since: float) -> float:
    """Milliseconds since a moment of `time.perf_counter`."""
    return (time.perf_counter() - since) * 1000


def waited_for_cpu() -> float:
    """Milliseconds that this process was ready and another ran instead; 0 where Linux does not tell (schedstat)."""
    try:
        with open("/proc/self/schedstat") as stream:
            return int(stream.read().split()[1]) / 1_000_000
    except (OSError, ValueError, IndexError):
        return 0.0
