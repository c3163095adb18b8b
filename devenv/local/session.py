"""What the steps of one environment share: where things are, what was installed, the supervisor."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from devenv.local import ports as port_choice
from devenv.local.errors import NotRunning
from devenv.local.places import Places
from devenv.local.ports import Ports
from devenv.local.postgres import Postgres, has_wheel
from devenv.local.virtualenv import Installer, python_of
from devenv.project import Project
from devenv.supervisor.client import Answer, SupervisorClient
from devenv.supervisor.component import ComponentSpec
from devenv.supervisor.errors import SupervisorFailed

if TYPE_CHECKING:
    from devenv.airflow.client import AirflowClient
    from devenv.airflow.rest import Credentials


class LocalSession:
    """One environment during one run of devenv.

    Attributes:
        project: whose.
        places: its folders.
        installer: makes virtual environments.
        postgres: the metadata database, or None where SQLite has to do.
        started_here: this run of devenv started the supervisor, so its end is the environment's.
        cancelled: Ctrl-C.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.places = Places.of(project)
        self.installer = Installer(project.environment)
        self.postgres = Postgres(project, self.installer) if has_wheel() else None
        self.started_here = False
        self.cancelled = threading.Event()
        self._client: SupervisorClient | None = None
        self._lock = threading.Lock()

    @property
    def release(self) -> str:
        """Airflow's."""
        return self.project.settings.airflow.version

    @property
    def requirements(self) -> Path:
        """The project's `requirements.txt`; need not exist."""
        return self.project.requirements

    def airflow_folder(self) -> Path | None:
        """The virtual environment, None before it was made."""
        return self.installer.airflow_folder(self.release, self.requirements)

    def python(self) -> Path:
        """Airflow's interpreter.

        Raises:
            NotRunning: Airflow was not installed yet.
        """
        folder = self.airflow_folder()
        if folder is None:
            raise NotRunning(f"Airflow {self.release} is not installed for this project yet", hint="devenv up")
        return python_of(folder)

    @property
    def rests(self) -> Literal["stopped", "missing"]:
        """What an environment is that does not run: it was started before, or never (or was removed)."""
        return "stopped" if port_choice.remembered(self.places.data) is not None else "missing"

    def ports(self) -> Ports:
        """Where things answer.

        Raises:
            NotRunning: no ports were chosen yet.
        """
        known = port_choice.remembered(self.places.data)
        if known is None:
            raise NotRunning("This environment was never started", hint="devenv up")
        return known

    def airflow(self) -> AirflowClient:
        """Airflow's REST API, logged in, with a kept session.

        Raises:
            NotRunning: no ports were chosen yet.
        """
        from devenv.airflow.client import AirflowClient

        url = f"http://127.0.0.1:{self.ports().airflow}"
        return AirflowClient(url, self.credentials(), self.release, self.project.data_folder / "airflow-login.json")

    def credentials(self) -> Credentials:
        """User and password of Airflow's page; read from the seeds, so it answers while nothing runs."""
        from devenv.airflow.rest import Credentials
        from devenv.vault import layout, seeds

        admin = seeds.secrets_at(self.project, seeds.load_or_create(self.project), layout.ADMIN)
        return Credentials(admin["AIRFLOW_ADMIN_USER"], admin["AIRFLOW_ADMIN_PASSWORD"])

    def client(self) -> SupervisorClient | None:
        """The running supervisor, or None."""
        with self._lock:
            if self._client is not None:
                try:
                    self._client.status()
                except SupervisorFailed:
                    self._client.close()
                    self._client = None
            if self._client is None:
                self._client = SupervisorClient.connect(self.places.data)
            return self._client

    def supervisor(self) -> SupervisorClient:
        """The supervisor, started and held by this run of devenv where there is none.

        Raises:
            SupervisorFailed: it did not start.
        """
        client = self.client()
        if client is not None:
            return client
        with self._lock:
            if self._client is None:
                self._client = SupervisorClient.connect_or_start(self.places.data, self.places.logs)
                if not self._client.status().holders:
                    self._client.hold()
                    self.started_here = True
            return self._client

    def answer(self) -> Answer | None:
        """What the supervisor says of its components; None when there is none."""
        client = self.client()
        return client.status() if client is not None else None

    def runs(self, component: ComponentSpec | str) -> bool:
        """Whether a component runs; given its spec, of the same revision."""
        answer = self.answer()
        if answer is None:
            return False
        name = component if isinstance(component, str) else component.name
        if not isinstance(component, str) and answer.revisions.get(name) != component.revision:
            return False
        return any(state.name == name and state.state == "running" for state in answer.components)

    def noted_release(self) -> str | None:
        """The release that made the metadata database; None for an empty one, and where no Postgres is.

        Raises:
            CommandFailed: Postgres does not answer.
        """
        if self.postgres is None:
            return None
        return self.postgres.noted_release(self.postgres.install(lambda _line: None), self.ports().postgres)

    def database_url(self) -> dict[str, str]:
        """Where the metadata database is, in the words of the seeds (`devenv.vault.platform_secrets.values`)."""
        if self.postgres is None:
            return {"SQL_ALCHEMY_CONN": f"sqlite:///{self.places.data / 'airflow.db'}"}
        return {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(self.ports().postgres)}

    def release_supervisor(self) -> None:
        """From now on the environment goes on without this run of devenv."""
        if self._client is not None and self.started_here:
            self._client.release()
