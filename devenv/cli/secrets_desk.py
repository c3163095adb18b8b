"""Where the commands of `devenv secrets` work: the seeds, Vault, and what runs with what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devenv.cli.context import backend_from, console, project_from
from devenv.dag_environment import named_secrets
from devenv.errors import DevenvError, UsageError
from devenv.events import Notice
from devenv.sync.parse_again import leave_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devenv.backends.base import Backend
    from devenv.project import Project
    from devenv.vault.editor import SecretEditor
    from devenv.vault.importing import Pool
    from devenv.vault.keeper import SeedKeeper
    from devenv.vault.store import SecretStore


class Desk:
    """The environment that a command is about: its editor, and what of it runs."""

    def __init__(self) -> None:
        from devenv.vault.editor import SecretEditor
        from devenv.vault.keeper import SeedKeeper

        self.project: Project = project_from()
        self.backend: Backend | None = None
        self.keeper: SeedKeeper = SeedKeeper(self.project)
        self.store: SecretStore | None = None
        self.silent = ""
        try:
            self.backend = backend_from(self.project)
            self.keeper = self.backend.seed_keeper()
            self.store = _store(self.project, self.backend)
        except UsageError:
            raise
        except DevenvError as error:
            self.silent = error.message
        self.editor: SecretEditor = SecretEditor(self.project, self.keeper, self.store)

    def say_where(self, done: str) -> None:
        """Says what was done, and where it is now; a watch parses the files again, which may read it."""
        leave_request(self.project.state_folder)
        if self.store is not None:
            console().report(Notice("info", done))
        else:
            console().report(
                Notice("info", f"{done}; Vault is not running and loads it on the next `devenv up`", hint="devenv up")
            )

    def bring_to_pods(self, *, restart: bool) -> None:
        """Brings the changed value to what runs with the old one; environment variables have it after an `up`."""
        named = [name for name, _path, _key in named_secrets(self.project)]
        if named and self.store is not None:
            listed = ", ".join(named)
            console().report(
                Notice("info", f"[environment] has secrets as they were at the last up: {listed}", "devenv up")
            )
        if self.store is not None and self.backend is not None:
            self.backend.renew_secrets(console().report, restart=restart)


def _store(project: Project, backend: Backend) -> SecretStore:
    from devenv.vault.store import SecretStore

    store = SecretStore(backend.vault(), project.settings.vault.mount)
    store.paths("devenv/")  # asks Vault whether it is there
    return store


def set_pools(desk: Desk, pools: Sequence[Pool]) -> None:
    """Makes pools in Airflow, or says why they were not made; they live in its database, not in Vault."""
    names = ", ".join(pool.name for pool in pools)
    try:
        if desk.backend is None:
            raise DevenvError("Airflow does not run")
        client = desk.backend.airflow()
        for pool in pools:
            client.set_pool(pool.name, pool.slots, pool.description)
        client.close()
    except DevenvError as error:
        console().report(
            Notice("warning", f"pools were not set ({names}): {error.message}", hint="devenv up, then import again")
        )
    else:
        console().report(Notice("info", f"pools set in Airflow: {names}"))
