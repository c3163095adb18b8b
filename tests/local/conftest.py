"""Real environments on this machine; what uv installs is shared between the tests, and between runs of them."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from devenv.airflow.rest import AirflowUnreachable
from devenv.boot.runner import run_steps
from devenv.environment import Environment
from devenv.events import Event, VerdictReached
from devenv.local.backend import LocalBackend
from devenv.project import Project
from devenv.settings.schema import AirflowSettings, PortSettings, Settings
from devenv.supervisor.client import SupervisorClient
from devenv.verdict import Verdict

T = TypeVar("T")

HELLO = """
from datetime import datetime
from airflow.decorators import dag, task

@dag(schedule=None, start_date=datetime(2023, 1, 1), catchup=False)
def hello():
    @task
    def greet():
        print("hello from the task")
    greet()

hello()
"""


TELLS_WHO_PARSES = """
import sys

assert any(name.startswith("devenv.agent") for name in sys.modules), "parsed by Airflow itself"
"""
"""At the top of a DAG file: the agent finds nothing wrong, the scheduler does."""


def eventually(what: Callable[[], T], seconds: float = 120.0) -> T:
    """The first true value of `what`; the time only ends what hangs, long enough for a starved machine."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
    return value


def cache_folder() -> Path:
    """The cache that all local tests share."""
    given = os.environ.get("DEVENV_CACHE")
    return Path(given) if given else Path(tempfile.gettempdir()) / f"devenv-tests-{os.getuid()}"


@dataclass
class World:
    """One project with its environment, and what was reported."""

    folder: Path
    variables: dict[str, str]
    settings: Settings
    events: list[Event] = field(default_factory=list)

    @property
    def project(self) -> Project:
        return Project(self.folder, self.settings, Environment(variables=self.variables, cwd=self.folder))

    def backend(self) -> LocalBackend:
        """A new one, as each command makes it."""
        return LocalBackend(self.project, "a test", self.events.append)

    def up(self) -> LocalBackend:
        backend = self.backend()
        run_steps(backend.up_steps(), self.events.append)
        return backend

    def write(self, name: str, text: str) -> Path:
        """A DAG file, saved as editors do."""
        path = self.folder / "dags" / name
        temporary = path.with_name(f".{name}.tmp")
        temporary.write_text(text)
        temporary.replace(path)
        return path

    def supervisor(self) -> SupervisorClient:
        client = SupervisorClient.connect(self.project.data_folder)
        assert client is not None
        return client

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        client = SupervisorClient.connect(self.project.data_folder)
        if client is None:
            return []
        client.close()
        supervisor = psutil.Process(client.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def process(self, name: str) -> int:
        """The process of a component, below its guardian."""

        def look() -> int:
            with contextlib.closing(self.supervisor()) as client:
                found = [state for state in client.status().components if state.name == name and state.pid]
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile: its successor is awaited
                children = psutil.Process(found[0].pid).children() if found else []
                return children[0].pid if children else 0
            return 0

        return eventually(look)

    def of(self, kind: type[T]) -> list[T]:
        """The events of one kind."""
        return [event for event in list(self.events) if isinstance(event, kind)]

    def destroy(self) -> None:
        run_steps(self.backend().destroy_steps(), self.events.append)


def scheduler_speaks_for_itself(made: World) -> None:
    """A file that devenv did not touch, and one on which the two disagree: both are told, from Airflow's database."""

    def told(file: str) -> list[Verdict]:
        reached = [event.verdict for event in made.of(VerdictReached) if event.verdict.file == f"dags/{file}"]
        return [verdict for verdict in reached if verdict.speaker == "scheduler" and not verdict.ok]

    foreign = made.project.state_folder / "airflow" / "dags" / "foreign.py"
    foreign.write_text("# airflow dag\nimport not_there_at_all\n")
    (problem,) = eventually(lambda: told("foreign.py"), 120)[0].problems
    assert (problem.rule, problem.type, problem.file) == (
        "scheduler-import-error",
        "ModuleNotFoundError",
        "dags/foreign.py",
    )
    made.write("disputed.py", "# airflow dag\n" + TELLS_WHO_PARSES)
    error, why = eventually(lambda: told("disputed.py"), 120)[0].problems
    assert (error.type, error.message, error.line) == ("AssertionError", "parsed by Airflow itself", 5)
    assert (why.rule, why.severity) == ("verdicts-differ", "info")
    assert "other packages, variables or connections" in why.hint
    (made.folder / "dags" / "disputed.py").unlink()
    foreign.unlink()


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run."""
    running = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    return running


def is_healthy(made: World) -> bool:
    """Whether every component runs and says so."""
    backend = made.backend()
    try:
        beats = backend.airflow().health()
    except AirflowUnreachable:
        return False
    well = all(beats[name].status == "healthy" for name in ("metadatabase", "scheduler", "triggerer"))
    return well and backend.status().state == "up"


@contextlib.contextmanager
def world(folder: Path, version: str = "2.7.2", **settings: Any) -> Iterator[World]:
    """A project whose environment is destroyed at the end; nothing of it may be left."""
    project = folder / "shop"
    (project / "dags").mkdir(parents=True)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("DEVENV_", "AIRFLOW"))}
    variables |= {"DEVENV_CACHE": str(cache_folder()), "DEVENV_DATA": str(folder / "data")}
    made = World(
        project,
        variables,
        # Not the usual ports: an environment of the person who runs the tests keeps those.
        Settings(airflow=AirflowSettings(version=version), ports=PortSettings(airflow=18080, vault=18200), **settings),
    )
    try:
        yield made
    finally:
        processes = made.processes()
        made.destroy()
        eventually(lambda: not left(processes))


@contextlib.contextmanager
def watching(made: World) -> Iterator[None]:
    """`devenv watch` in a thread."""
    from devenv.events import WatchStarted
    from devenv.watching import watch

    stop = threading.Event()
    failed: list[BaseException] = []
    seen = len(made.of(WatchStarted))

    def run() -> None:
        try:
            watch(made.project, made.backend(), made.events.append, None, stop)
        except BaseException as error:  # noqa: BLE001 (shown by the test)
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        eventually(lambda: failed or len(made.of(WatchStarted)) > seen)
        assert not failed, failed
        yield
    finally:
        stop.set()
        thread.join(120)
        assert not thread.is_alive()
    assert not failed, failed


@pytest.fixture(scope="module")
def airflow_2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Airflow 2.7.2 on Postgres, with a DAG."""
    with world(tmp_path_factory.mktemp("local")) as made:
        made.write("hello.py", HELLO)
        made.up()
        yield made
