"""The life of the process that one test run has: what it may use, where its output goes, and what it runs."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

from devenv.agent.forks import isolate, mark
from devenv.agent.ignored import Patterns
from devenv.agent.parse import Release, Task, parse
from devenv.agent.places import Places
from devenv.agent.problems import Problem, from_exception
from devenv.agent.tasks.carried import Carried
from devenv.agent.tasks.debugger import offer_terminal, wait_for_editor
from devenv.agent.tasks.driver import bag_of, driver_for
from devenv.agent.tasks.execution import execute
from devenv.agent.tasks.log_output import log_to_output, masked
from devenv.agent.tasks.outcome import Events, Interrupted, Refusal
from devenv.agent.tasks.private_database import PrivateDatabase
from devenv.agent.tasks.request import Request

FAILED = 1
REFUSED = 2
_SECONDS_TO_FIND = 60.0
_PARSE_SECONDS = 30.0


class Streams(NamedTuple):
    """The ends that a run has of the pipes to the process that forked it.

    Attributes:
        result: for events.
        output: becomes standard output and error.
        typed: what is typed on the laptop.
    """

    result: int
    output: int
    typed: int


def begin(streams: Streams, files: List[int]) -> None:
    """Makes the process that was just forked one that runs tasks; see `devenv.agent.forks.isolate`."""
    isolate(streams.result, streams.output, files)
    os.set_inheritable(streams.typed, False)
    mark()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(OSError):  # where memory ends, this process does, not the one that it was forked from
        with open("/proc/self/oom_score_adj", "w") as stream:
            stream.write("1000")


class Warm(NamedTuple):
    """What the process that forks has ready for each run.

    Attributes:
        release: the Airflow that is imported.
        places: the synced roots.
        template: the release's empty database.
        configured: the URL of the metadata database that Airflow is configured with.
        carried: packages that came from the laptop.
    """

    release: Release
    places: Places
    template: str
    configured: str
    carried: Carried


def finish(events: Events, work: Callable[[], int]) -> None:
    """Does the work of a run's process, and ends the process with its result, whatever happens.

    Args:
        events: gets `broke` where it raises.
        work: gives the exit code.
    """
    code = FAILED
    try:
        code = work()
    except BaseException as error:
        traceback.print_exc()
        events.send("broke", message=f"{type(error).__name__}: {error}")
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def live(warm: Warm, request: Request, database: str, streams: Streams) -> None:
    """Runs what was asked for, and ends the process: 0, 1 when a task failed, 2 when it could not begin.

    Args:
        warm: what is ready.
        request: what to run.
        database: where this run's copy of the template goes.
        streams: to and from the laptop.
    """
    events = Events(streams.result)
    finish(events, lambda: _run(warm, request, database, streams, events))


def _run(warm: Warm, request: Request, database: str, streams: Streams, events: Events) -> int:
    release, places = warm.release, warm.places
    os.environ.update(request.variables)
    os.environ["AIRFLOW_TEST_MODE"] = "True"
    if places.dag_folder not in sys.path:  # as in a task's process; a trigger is imported by its module's name
        sys.path.append(places.dag_folder)
    log_to_output(verbose=request.verbose)
    if request.terminal:
        offer_terminal(streams.typed, events)
    private = PrivateDatabase(warm.template, database, warm.configured)
    private.copy()
    try:
        if request.debug:
            wait_for_editor(warm.carried.folders["debugpy"], request.debug_port, events)
        dag, bag, file = _Finder(release, places, request).find()
        events.send("dag", file=file)

        def explain(error: BaseException) -> Problem:
            found = from_exception(
                error, places, main=file, missing=(), vault_mount=request.vault_mount, version=release.version
            )
            return {**found, "rule": "task-failed"}

        driver = driver_for(release, bag)
        with masked():
            return 0 if execute(driver, dag, request, private, events=events, explain=explain) else FAILED
    except Refusal as refusal:
        events.send("refused", reason=refusal.reason, message=str(refusal), **refusal.fields)
        return REFUSED
    except Interrupted:
        return FAILED


class _Finder:
    """Finds the file that makes a DAG."""

    def __init__(self, release: Release, places: Places, request: Request) -> None:
        self._release = release
        self._places = places
        self._request = request

    def find(self) -> Any:
        """The DAG, the DagBag of its file alone, and the file's name.

        Raises:
            Refusal: no file makes it, or the one that does is broken.
        """
        dag_id, hints = self._request.dag_id, self._request.files
        until = time.monotonic() + _SECONDS_TO_FIND
        broken: Dict[str, str] = {}
        known: List[str] = []
        tried = set()
        for file in self._candidates():
            if file in tried or time.monotonic() > until:
                continue
            tried.add(file)
            bag = bag_of(self._release, self._places.path(file))
            if dag_id in bag.dags:
                return bag.dags[dag_id], bag, file
            known += bag.dags
            for text in bag.import_errors.values():
                broken[file] = text
            if broken and file in hints:
                break
        named = [file for file in broken if file in hints or dag_id in self._places.text(file)]
        if named:
            problems = self._problems(named[0])
            raise Refusal("broken", f"{named[0]} does not parse", file=named[0], problems=problems)
        others = f"; {', '.join(sorted(broken)[:5])} may, and does not parse" if broken else ""
        raise Refusal("dag", f"no DAG file makes {dag_id!r}{others}", dags=sorted(set(known)))

    def _candidates(self) -> Iterator[str]:
        """The named files, those that have the id in their text, then all others."""
        yield from (name for name in self._request.files if os.path.isfile(self._places.path(name)))
        patterns = Patterns(self._places, self._release.version)
        found = sorted(name for name in self._places.dag_files() if name.endswith(".py"))
        files = [name for name in found if patterns.hides(name) is None]
        yield from (file for file in files if self._request.dag_id in self._places.text(file))
        yield from files

    def _problems(self, file: str) -> List[Problem]:
        task = Task(file, _PARSE_SECONDS, safe_mode=False, check={}, vault_mount=self._request.vault_mount)
        return list(parse(self._release, self._places, task)["problems"])
