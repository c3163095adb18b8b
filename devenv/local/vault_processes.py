"""The dev Vault and what keeps it seeded, as supervised processes.

    python -m devenv.local.vault_processes SETTINGS PROJECT_FOLDER PORT DATABASE

is the seeder: Vault's dev server forgets everything when it is restarted, also when no `devenv` command runs.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from devenv import process
from devenv.environment import Environment
from devenv.files import write_whole
from devenv.project import Project
from devenv.settings.schema import Settings
from devenv.supervisor.component import ComponentSpec
from devenv.vault import seeds
from devenv.vault.local import LocalSeeder
from devenv.vault.server import server_process

if TYPE_CHECKING:
    from devenv.local.session import LocalSession

SEEDER = "vault-seeder"
_SETTINGS = "settings.json"


def write_settings(session: LocalSession) -> None:
    """Leaves the effective settings, flags included, for the seeder."""
    write_whole(session.places.data / _SETTINGS, session.project.settings.model_dump_json())


def components(session: LocalSession, program: Path) -> list[ComponentSpec]:
    """The server and the seeder, as the supervisor runs them.

    Args:
        session: the environment.
        program: `vault` or `bao`.
    """
    port = session.ports().vault
    environment = session.project.environment
    root_token = seeds.load_or_create(session.project).root_token
    server = server_process(program, port, root_token, environment.variables)
    seeder = (
        *(process.interpreter(), "-m", "devenv.local.vault_processes"),
        *(str(session.places.data / _SETTINGS), str(session.project.folder), str(port)),
        json.dumps(session.database_url()),  # where it is; no password
    )
    return [
        # Its greeting, on standard output, holds the root token.
        ComponentSpec("vault", server.command, server.variables, cwd=str(session.places.data), errors_only=True),
        ComponentSpec(SEEDER, seeder, dict(environment.variables), cwd=str(session.places.data), tier=1),
    ]


def main(arguments: list[str]) -> int:
    """Keeps Vault seeded until SIGTERM."""
    settings, folder, port, database = arguments
    project = Project(Path(folder), Settings.model_validate_json(Path(settings).read_text()), Environment())
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    seeder = LocalSeeder(project, f"http://127.0.0.1:{port}", lambda: json.loads(database))
    seeder.keep_seeded(ended, lambda line: print(line, flush=True))  # noqa: T201 (its log)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
