"""up, watch, status, down and destroy on a backend that records what it was asked."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from devenv import watching
from devenv.airflow.model import Dag
from devenv.airflow.rest import Credentials
from devenv.airflow.upgrade import require_not_older
from devenv.backends.base import Component, EnvironmentStatus
from devenv.boot.step import Step
from devenv.environment import Environment
from devenv.errors import ExitCode, PlatformError
from devenv.events import Event, Notice
from devenv.project import Project
from devenv.sync.lock import WatchLock


class Recorded(Step):
    name = "airflow"
    title = "Start Airflow"

    def __init__(self, asked: list[str], word: str) -> None:
        self.asked = asked
        self.word = word

    def check(self) -> bool:
        return False

    def run(self, progress) -> str:
        self.asked.append(self.word)
        return "2.7.2"


class FakeBackend:
    name = "local"
    reason = "Docker is not installed"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.project: Project | None = None
        self.state = "up"

    def up_steps(self):
        return [Recorded(self.asked, "up")]

    def down_steps(self):
        return [Recorded(self.asked, "down")]

    def destroy_steps(self):
        return [Recorded(self.asked, "destroy")]

    def destroys(self):
        return ["the database"]

    def status(self) -> EnvironmentStatus:
        components = (Component("scheduler", "failed", "OSError\nno space left", 3),)
        return EnvironmentStatus("local", "shop-1", self.state, components, {"webserver": "http://127.0.0.1:8080"})  # type: ignore[arg-type]

    def credentials(self) -> Credentials:
        return Credentials("admin", "s3cret")

    def airflow(self):
        raise PlatformError("Airflow does not answer yet")

    def reconcile(self, report) -> None:
        self.asked.append("reconcile")
        raise PlatformError("pip found no such package", hint="see requirements.txt")

    def stale_secrets(self):
        return ()

    def surroundings(self):
        return None

    @contextlib.contextmanager
    def during_watch(self, report) -> Iterator[None]:
        yield


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()

    def choose(project: Project, flag: str | None, report) -> FakeBackend:
        fake.project = project
        return fake

    monkeypatch.setattr("devenv.backends.choose.choose", choose)
    return fake


def test_up_tells_the_backend_the_phases_and_where_everything_is(devenv, backend: FakeBackend) -> None:
    result = devenv("up", "--detach")
    assert result.exit_code == ExitCode.OK
    assert result.stderr.splitlines()[0].strip() == "note local: Docker is not installed"
    assert "✓ Start Airflow" in result.stderr
    assert "nothing watches the DAG folder" in result.stderr
    assert [line.split()[:2] for line in result.stdout.splitlines() if line] == [
        ["Airflow", "http://127.0.0.1:8080"],
        ["User", "admin"],
        ["Password", "devenv"],  # "devenv status --reveal": this is no terminal
        ["Stop", "devenv"],
    ]


def test_the_password_is_for_a_terminal_or_for_who_asks(devenv, backend: FakeBackend) -> None:
    assert "s3cret" in devenv("up", "--detach", terminal=True).stdout
    assert "s3cret" not in devenv("status").stdout
    assert "s3cret" in devenv("status", "--reveal").stdout
    assert "s3cret" not in devenv("status", "-o", "json").stdout


def test_flags_are_remembered_until_the_next_up_with_flags_and_forgotten_by_destroy(
    devenv, backend: FakeBackend
) -> None:
    def ports() -> tuple[int, str]:
        devenv("status")
        assert backend.project is not None
        return backend.project.settings.ports.airflow, backend.project.settings.backend

    devenv("up", "--detach", "--port", "9000", "--backend", "local")
    assert ports() == (9000, "local")
    devenv("up", "--detach")
    assert ports() == (9000, "local")
    assert "devenv up --port (the last one)" in devenv("config", "--given").stdout
    devenv("up", "--detach", "--backend", "auto")
    assert ports() == (8080, "auto")
    devenv("up", "--detach", "--port", "9000")
    devenv("destroy", "--yes")
    assert ports() == (8080, "auto")


def test_a_refused_move_to_an_older_release_leaves_the_other_commands_with_the_one_that_runs(
    devenv, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    devenv("up", "--detach", "--airflow-version", "3.3.2")
    monkeypatch.setattr(Recorded, "check", lambda _step: require_not_older("3.3.2", "2.7.2"))
    refused = devenv("up", "--detach", "--airflow-version", "2.7.2")
    assert refused.exit_code == ExitCode.REFUSED
    assert "devenv up --airflow-version 3.3.2" in refused.stderr
    devenv("status")
    assert backend.project is not None
    assert backend.project.settings.airflow.version == "3.3.2"


def test_a_dry_run_does_nothing(devenv, backend: FakeBackend) -> None:
    assert "Start Airflow  would be done" in devenv("up", "--dry-run", "--port", "9000").stdout
    assert "the database" in devenv("destroy", "--dry-run").stdout
    assert backend.asked == []
    assert "9000" not in devenv("config").stdout


def test_up_beside_a_watch_prints_the_summary_and_names_the_watcher(devenv, backend: FakeBackend) -> None:
    with WatchLock(devenv.state_folder()):
        result = devenv("up")
    assert result.exit_code == ExitCode.OK
    assert "http://127.0.0.1:8080" in result.stdout
    assert "watches dags/ already" in result.stderr


def test_a_missing_dag_folder_is_told_before_anything_is_started(devenv, backend: FakeBackend) -> None:
    (devenv.cwd / "devenv.toml").write_text('[sync]\ndags = "flows"\n')
    result = devenv("up")
    assert result.exit_code == ExitCode.MISSING
    assert "there is no DAG folder at" in result.stderr
    assert backend.asked == []


def test_destroy_asks_and_never_without_a_person(devenv, backend: FakeBackend) -> None:
    assert devenv("destroy", terminal=True, stdin="n\n").exit_code == ExitCode.REFUSED
    nobody = devenv("destroy")
    assert nobody.exit_code == ExitCode.USAGE
    assert "--yes" in nobody.stderr
    with WatchLock(devenv.state_folder()):
        assert devenv("destroy", "--yes").exit_code == ExitCode.REFUSED
    assert backend.asked == []
    assert devenv("destroy", terminal=True, stdin="y\n").exit_code == ExitCode.OK
    assert backend.asked == ["destroy"]


def test_status_says_why_something_failed_and_exits_with_it(devenv, backend: FakeBackend) -> None:
    backend.state = "partly"
    result = devenv("status")
    assert result.exit_code == ExitCode.FAILED
    assert any(
        line.split() == ["scheduler", "failed", "3", "no", "space", "left"] for line in result.stdout.splitlines()
    )
    assert "Airflow does not answer yet" in result.stdout
    first = json.loads(devenv("status", "-o", "json").stdout.splitlines()[0])
    assert (first["type"], first["data"]["state"], first["data"]["watcher"]) == ("devenv.status", "partly", None)


def test_down(devenv, backend: FakeBackend) -> None:
    assert devenv("down").exit_code == ExitCode.OK
    assert backend.asked == ["down"]


def test_while_watching_a_changed_image_is_rebuilt_and_wrong_settings_are_told(
    project_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_LOOK_SECONDS", 0.01)
    backend = FakeBackend()
    project = Project.find(None, Environment(cwd=project_folder, variables={"DEVENV_DATA": str(project_folder.parent)}))
    told: list[Event] = []
    both = threading.Event()

    def report(event: Event) -> None:
        told.append(event)
        if len(told) == 2:
            both.set()

    ended = threading.Event()
    inputs = watching._Inputs(project, backend, report, ended)  # type: ignore[arg-type]
    inputs.start()
    try:
        (project_folder / "requirements.txt").write_text("nothing-of-this-name\n")
        (project_folder / "devenv.toml").write_text("x = 1\n")
        assert both.wait(30)
    finally:
        ended.set()
        inputs.join(10)
    assert backend.asked == ["reconcile"]
    messages = {event.message.splitlines()[0] for event in told if isinstance(event, Notice) and event.level == "error"}
    assert messages == {"pip found no such package", "devenv.toml has a problem:"}


def test_no_minikube_and_no_docker(devenv) -> None:
    """With nothing on PATH: the boot's first step says what to install, and no program is started."""
    result = devenv("up", "--backend", "minikube", "--detach")
    assert result.exit_code == ExitCode.MISSING
    assert "minikube is not installed" in result.stderr or "Docker is not installed" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("→ ")


def test_status_as_json_with_dags(devenv, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    class Airflow:
        dags = staticmethod(lambda: (Dag("shop"), Dag("daily", paused=True), Dag("hourly")))
        import_errors = runs = staticmethod(lambda **_: ())
        health = staticmethod(dict)
        close = staticmethod(lambda: None)

    monkeypatch.setattr(backend, "airflow", Airflow)
    line = json.loads(devenv("status", "-o", "json").stdout.splitlines()[0])
    assert line["type"] == "devenv.status"
    assert line["data"]["dags"] == {"active": 2, "paused": 1}
