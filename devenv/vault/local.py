"""Vault on the local backend: the same seeding and fetching as in pods, with AppRole in place of Kubernetes auth."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from devenv import process
from devenv.errors import CommandFailed, DevenvError
from devenv.files import write_whole
from devenv.project import Project
from devenv.vault import layout, programs, seeds
from devenv.vault.errors import VaultDenied

_PATIENCE_SECONDS = 15.0

Database = Callable[[], Mapping[str, str]]
"""Where the metadata database is now, see `platform_secrets.values`."""


class LocalSeeder:
    """Seeds the local Vault from the seeds in the user's data folder, and again whenever it has forgotten.

    Nothing is written to disk. A changed file of seeds is applied within a second; commands (`op read …`) run when
    this object is made and when the file changes.

    Args:
        project: whose.
        address: Vault's.
        database: asked when the document is made.
    """

    def __init__(self, project: Project, address: str, database: Database) -> None:
        self._project = project
        self._address = address
        self._database = database

    def signature(self) -> tuple[object, ...]:
        """See `seed_vault.SeedFolder`."""
        state = seeds.kept_file(self._project).stat()
        return (state.st_mtime_ns, state.st_ino, *sorted(self._database().items()))

    def load(self) -> tuple[dict[str, Any], str]:
        """See `seed_vault.SeedFolder`.

        Raises:
            fetch_secrets.Fault: the seeds cannot be read, or a command failed.
        """
        try:
            return self._load()
        except DevenvError as error:
            raise programs.load("fetch_secrets").Fault(error.message, error.hint or "") from error

    def _load(self) -> tuple[dict[str, Any], str]:
        found = seeds.load_or_create(self._project)
        document = seeds.seed_document(self._project, found, auth="approle", database=self._database())
        return document, found.root_token

    def seed(self) -> int:
        """Seeds Vault now; gives back how many secrets were written.

        Raises:
            DevenvError: the seeds cannot be read, a command failed, or Vault refused.
        """
        fetch_secrets, seed_vault = programs.load("fetch_secrets"), programs.load("seed_vault")
        vault = fetch_secrets.Vault(self._address)
        document, vault.token = self._load()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        try:
            while True:
                try:
                    return int(seed_vault.apply(vault, document))
                except fetch_secrets.Fault as fault:
                    # The supervised seeder may be writing the same at this moment: one of the two is turned away.
                    if not fault.passing or time.monotonic() > deadline:
                        raise VaultDenied(fault.cause, hint=fault.hint) from fault
                time.sleep(0.2)
        finally:
            vault.close()

    def keep_seeded(self, ended: threading.Event, said: Callable[[str], None]) -> None:
        """Looks once a second until `ended` is set, in a thread of the supervisor; `said` gets a line per event."""
        fetch_secrets, seed_vault = programs.load("fetch_secrets"), programs.load("seed_vault")
        seed_vault.keep_seeded(
            fetch_secrets.Vault(self._address),
            self,
            ended,
            lambda changed, seconds: said(f"Vault was seeded: {changed} secrets written in {seconds:.2f} s"),
            said,
        )


def fetch(project: Project, *, component: str, address: str, folder: Path, template: Path | None) -> dict[str, str]:
    """Fetches the files of a component into a folder, as the init container does; gives back path → revision.

    Args:
        project: whose.
        component: the role: `scheduler` gets all that Airflow's processes need.
        address: Vault's.
        folder: where the files go, 0700: `.devenv/etc/airflow`.
        template: airflow.cfg with placeholders, or None to render none.

    Raises:
        VaultDenied: with cause and next command.
    """
    login = folder.parent / "vault" / component
    for each in (folder, login):
        each.mkdir(parents=True, exist_ok=True, mode=0o700)
    halves = seeds.load_or_create(project).login(component)
    write_whole(login / "role-id", halves["role_id"])
    write_whole(login / "secret-id", halves["secret_id"])
    write_whole(folder / "secrets.json", json.dumps(layout.secrets_list(project.settings.vault), indent=2))
    variables = {
        "VAULT_ADDR": address,
        "DEVENV_COMPONENT": component,
        "DEVENV_VAULT_AUTH": "approle",
        "DEVENV_VAULT_CREDENTIALS": str(login),
        "DEVENV_VAULT_PATIENCE": "20",
        "DEVENV_SECRETS_LIST": str(folder / "secrets.json"),
        "DEVENV_SECRETS_FOLDER": str(folder),
        "DEVENV_CONFIG_TEMPLATE": str(template or ""),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        process.run([process.interpreter(), "-I", programs.folder() / "fetch_secrets.py"], variables=variables)
    except CommandFailed as error:
        cause, _, hint = (error.output.strip().splitlines() or [str(error)])[-1].partition(". Next: ")
        raise VaultDenied(cause, hint=hint or None) from error

    revisions: dict[str, str] = json.loads((folder / "revisions.json").read_text(encoding="utf-8"))
    return revisions
