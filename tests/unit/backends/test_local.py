"""What the local backend leaves out is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from devenv.backends.local.backend import LocalBackend
from devenv.environment import Environment
from devenv.events import Event, Notice
from devenv.project import Project
from devenv.settings.schema import AirflowSettings, Settings


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
