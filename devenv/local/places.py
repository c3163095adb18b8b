"""Where the parts of a local environment lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from devenv.project import Project


@dataclass(frozen=True)
class Places:
    """Folders of one environment: what may be deleted in `.devenv/`, what must not in the user's data folder.

    Attributes:
        secrets: env files and `airflow.cfg`, rendered from Vault (`DEVENV_SECRETS_FOLDER`).
        airflow_home: Airflow's own; it keeps nothing of worth there.
        claim: what the agent writes: `dags`, `plugins`, further folders. It is AIRFLOW_HOME, as in an image of
            Airflow, so that files are found by `$AIRFLOW_HOME/dags` and from the working folder.
        logs: one file per component.
        data: the supervisor's record, ports, seeds.
        task_logs: what `devenv logs DAG TASK` shows.
        vault: what the seeder and the logins read.
    """

    secrets: Path
    airflow_home: Path
    claim: Path
    logs: Path
    data: Path
    task_logs: Path
    vault: Path

    @classmethod
    def of(cls, project: Project) -> Places:
        """The places of a project's environment."""
        state, data = project.state_folder, project.data_folder
        return cls(
            secrets=state / "etc" / "airflow",
            airflow_home=state / "airflow",
            claim=state / "airflow",
            logs=state / "logs",
            data=data,
            task_logs=data / "task-logs",
            vault=data / "vault",
        )

    def make(self, roots: Iterable[str]) -> None:
        """Makes the folders that are missing, for their owner alone.

        Args:
            roots: names of the synced folders, and further folders of PYTHONPATH. They are there before Airflow starts:
                Python remembers of a folder on its path that it is not there, and finds nothing in it later.
        """
        for folder in (
            self.secrets.parent,
            self.secrets,
            self.airflow_home,
            self.airflow_home / "config",
            self.claim,
            *(self.claim / root for root in roots),
            self.logs,
            self.data,
            self.task_logs,
            self.vault,
        ):
            folder.mkdir(parents=True, mode=0o700, exist_ok=True)
