"""What the warm process imports ahead, so that a parse forks with it loaded: what DAG files import from outside.

Learnt from the parses themselves, remembered between sessions, bounded in memory. Never the project's own code, which
changes; and nothing that starts threads or opens sockets when it is imported, since a fork would not have them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import sys
import threading
from typing import Dict, Iterable, Iterator, List, Set, Tuple

from devenv.agent.places import Places

MEGABYTES = 380.0
"""Peak memory of the warm process above which nothing more is imported."""
_NAMES_LIMIT = 5_000
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Read once when numpy's libraries are loaded, which start threads otherwise."""


class Preload:
    """The modules to import, in the order in which files imported them."""

    def __init__(self, places: Places, memory: str) -> None:
        """Takes the roots, and the file in which names are remembered."""
        self._places = places
        self._memory = memory
        self._pending: List[str] = []
        self._known: Set[str] = set()
        self._harmful: Set[str] = set()
        self._remember()

    def __bool__(self) -> bool:
        """Whether there is something to import."""
        return bool(self._pending)

    def learn(self, names: Iterable[str]) -> None:
        """Takes over what a parse imported from outside the project."""
        for name in names:
            known = name in self._known or package_of(name) in self._harmful
            if not known and len(self._known) < _NAMES_LIMIT:
                self._known.add(name)
                self._pending.append(name)

    def step(self) -> bool:
        """Imports one module; False when that did something to this process that a fork would not survive.

        The module is remembered as such, so that a successor of this process leaves it out.
        """
        if not self._pending:
            return True
        if megabytes() > MEGABYTES:
            self._pending.clear()
            return True
        name = self._pending.pop(0)
        if name in sys.modules:
            return True
        before, last = _state(), len(sys.modules)
        with _one_thread(), contextlib.suppress(BaseException):  # the file that imports it shows why it fails
            importlib.import_module(name)
        if _grew(before, _state()) or self._has_own(last):
            self._harmful.add(package_of(name))
            self._known = {one for one in self._known if package_of(one) not in self._harmful}
            if self.save():
                return False
            self._pending.clear()
        if not self._pending:
            gc.collect()
            gc.freeze()
            self.save()
        return True

    def save(self) -> bool:
        """Remembers the names for the next process; False when that cannot be done."""
        names = [name for name in sys.modules if name in self._known]
        with contextlib.suppress(OSError):
            temporary = f"{self._memory}.{os.getpid()}"
            with open(temporary, "w", encoding="utf-8") as stream:
                json.dump({"modules": names, "harmful": sorted(self._harmful)}, stream)
            os.replace(temporary, self._memory)
            return True
        return False

    def _remember(self) -> None:
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            with open(self._memory, encoding="utf-8") as stream:
                found: Dict[str, List[str]] = json.load(stream)
            self._harmful.update(str(name) for name in found["harmful"])
            self.learn(str(name) for name in found["modules"])

    def _has_own(self, since: int) -> bool:
        """Whether the project's own code was imported with it."""
        return any(
            self._places.name(getattr(sys.modules.get(name), "__file__", None)) is not None
            for name in list(sys.modules)[since:]
        )


def package_of(name: str) -> str:
    """What is left out together with a module that does harm: its package, one provider, or that module of Airflow."""
    parts = name.split(".")
    if parts[0] != "airflow":
        return parts[0]
    return ".".join(parts[:3]) if parts[1:2] == ["providers"] else name


def importable(names: Iterable[str], places: Places) -> List[str]:
    """Of modules that are imported, those from outside the project that another process can import by name."""
    found = []
    for name in names:
        module = sys.modules.get(name)
        spec = getattr(module, "__spec__", None)
        if spec is None or spec.name != name or name.startswith(("devenv.", "__")):
            continue
        if places.name(getattr(module, "__file__", None)) is None and spec.has_location:
            found.append(name)
    return found


def megabytes() -> float:
    """Peak memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1_048_576


def _grew(before: Tuple[int, int, List[str]], now: Tuple[int, int, List[str]]) -> bool:
    """Whether there are more threads or sockets, or other signal handlers; a thread that ended does no harm."""
    return now[0] > before[0] or now[1] > before[1] or now[2] != before[2]


def _state() -> Tuple[int, int, List[str]]:
    """Threads, sockets and signal handlers of this process."""
    handlers = [str(signal.getsignal(number)) for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)]
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError:
        threads = threading.active_count()
    sockets = 0
    with contextlib.suppress(OSError):
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                sockets += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    return threads, sockets, handlers


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    added = [name for name in _ONE_THREAD if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
