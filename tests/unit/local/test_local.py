"""What the local backend leaves out is said; another release takes the database over."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devenv.environment import Environment
from devenv.events import Event, Notice
from devenv.local import steps
from devenv.local.backend import LocalBackend
from devenv.local.ports import Ports
from devenv.local.session import LocalSession
from devenv.project import Project
from devenv.settings.schema import AirflowSettings, Settings
from devenv.supervisor.client import Answer
from devenv.supervisor.component import ComponentState


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(), []),
        (Settings(components=("monitoring", "lineage")), ["the local backend has no monitoring and no lineage"]),
        (Settings(airflow=AirflowSettings(schedulers=2)), ["the local backend has no ha"]),
    ],
)
def test_parts_that_need_a_cluster_are_named(project_folder: Path, settings: Settings, said: list[str]) -> None:
    told: list[Event] = []
    LocalBackend(Project(project_folder, settings, Environment(variables={})), "a test", told.append).up_steps()
    assert [event.message for event in told if isinstance(event, Notice)] == said


class Postgres:
    """A database that this release made."""

    def __init__(self, noted: str | None) -> None:
        self.noted = noted
        self.saved: list[Path] = []

    def install(self, _say: object) -> Path:
        return Path("/programs")

    def noted_release(self, _programs: Path, _port: int) -> str | None:
        return self.noted

    def save(self, _programs: Path, _port: int, template: Path) -> None:
        self.saved.append(template)


class Supervisor:
    """Runs the scheduler and the page of 2.7.2, and Vault."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def status(self) -> Answer:
        running = [ComponentState(name, "running") for name in ("vault", "scheduler", "webserver")]
        return Answer(pid=1, holders=(), components=tuple(running), revisions={"scheduler": "of 2.7.2"})

    def stop_components(self, names: list[str]) -> None:
        self.ended += names


@pytest.mark.parametrize(
    ("noted", "ended", "saved"),
    [("2.7.2", ["scheduler", "webserver"], False), ("3.3.2", [], False), (None, [], True)],
)
def test_a_move_ends_the_old_release_and_no_template_is_made_of_a_database_with_runs(
    project_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    noted: str | None,
    ended: list[str],
    *,
    saved: bool,
) -> None:
    project = Project(
        project_folder,
        Settings(backend="local", airflow=AirflowSettings(version="3.3.2")),
        Environment(variables={"DEVENV_DATA": str(tmp_path / "data")}, home=tmp_path),
    )
    project.make_state_folder()
    session = LocalSession(project)
    postgres, supervisor = Postgres(noted), Supervisor()
    session.postgres = postgres  # type: ignore[assignment]
    monkeypatch.setattr(session, "client", lambda: supervisor)
    monkeypatch.setattr(session, "ports", lambda: Ports(8080, 8200, 5432))
    monkeypatch.setattr(session, "airflow_folder", lambda: tmp_path)
    session.places.make(["dags"])
    (session.places.secrets / "airflow.cfg").touch()
    step = steps.PrepareDatabase(session, lambda _event: None)
    assert not step.check()  # a scheduler runs, and it is not that of 3.3.2
    ran: list[object] = []
    monkeypatch.setattr(
        steps.process, "run", lambda command, **_how: ran.append(command) or subprocess.CompletedProcess([], 0, "", "")
    )
    step.run(lambda _message, _fraction=None: None)
    assert len(ran) == 1
    assert supervisor.ended == ended
    assert bool(postgres.saved) is saved
