"""A secret that changed while the local environment runs: files anew, and what has read the old one starts again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from devenv.errors import DevenvError
from devenv.events import Notice, Reporter
from devenv.vault import layout, programs, seeds, staleness
from devenv.vault.errors import VaultUnreachable

if TYPE_CHECKING:
    from devenv.boot.step import Step
    from devenv.local.session import LocalSession

READ_AT_START = (layout.DATABASE, layout.CORE, layout.ADMIN)
"""What Airflow's processes have read when they started; tasks read the other paths' files each time."""


class _Vault:
    """What Vault holds, asked without a client library: `devenv status` must not wait for an import."""

    def __init__(self, session: LocalSession) -> None:
        self._seed_vault: Any = programs.load("seed_vault")
        self._vault = programs.load("fetch_secrets").Vault(f"http://127.0.0.1:{session.ports().vault}")
        self._vault.token = seeds.load_or_create(session.project).root_token
        self._mount = session.project.settings.vault.mount

    def read(self, path: str) -> dict[str, str] | None:
        """See `staleness.Secrets`."""
        found: dict[str, str] | None = self._seed_vault.current(self._vault, self._mount, path)
        return found

    def close(self) -> None:
        """Closes the connection."""
        self._vault.close()


def stale_paths(session: LocalSession) -> tuple[str, ...]:
    """The paths that hold something else in Vault than in the environment's files; none before the first `up`.

    Raises:
        NotRunning: the environment was never started.
        VaultUnreachable: Vault cannot be asked.
    """
    file = session.places.secrets / "revisions.json"
    if not file.exists():
        return ()
    fetched = json.loads(file.read_text(encoding="utf-8"))
    vault = _Vault(session)
    try:
        return staleness.stale_paths(fetched, staleness.current_revisions(vault, fetched))
    except programs.load("fetch_secrets").Fault as fault:
        raise VaultUnreachable(fault.cause, hint=fault.hint) from fault
    finally:
        vault.close()


def stale(session: LocalSession) -> tuple[staleness.StalePod, ...]:
    """What runs with old secrets, as `devenv status` shows it; nothing when Vault cannot be asked."""
    try:
        paths = stale_paths(session)
    except DevenvError:
        return ()  # it does not run, which the status says
    old = tuple(path for path in paths if path in READ_AT_START)
    files = tuple(path for path in paths if path not in READ_AT_START)
    found = [staleness.StalePod("Airflow", "airflow", old, None)] if old else []
    return (*found, *([staleness.StalePod("the next task", "task", files, None)] if files else []))


def renew(session: LocalSession, report: Reporter, *, restart: bool) -> None:
    """Brings what changed in Vault to files and processes; a new password of the database to Postgres, too.

    Args:
        session: the environment; nothing is done when it does not run.
        report: told what starts again.
        restart: without it, nothing changes where a process would have to start again.

    Raises:
        DevenvError: Vault cannot be asked, or a step failed.
    """
    running = session.answer()
    if running is None:
        return
    changed = stale_paths(session)
    needed = [path for path in READ_AT_START if path in changed]
    if needed and not restart:
        report(Notice("warning", f"Airflow still runs with the old {', '.join(needed)}", hint="devenv secrets seed"))
        return
    if changed:
        _renew(session, report, needed, {state.name for state in running.components})


def _renew(session: LocalSession, report: Reporter, needed: list[str], running: set[str]) -> None:
    from devenv.local import airflow_processes, steps

    if needed:
        report(Notice("info", f"Airflow gets the new {', '.join(needed)}"))
    if layout.DATABASE in needed:
        # A role's password is changed while no server runs, see `Postgres.create`; Airflow goes before its database.
        session.supervisor().stop_components(sorted(running & airflow_processes.NAMES))
        session.supervisor().stop_components(sorted(running & {"postgres"}))
        _run(steps.StartPostgres(session, report))
    _run(steps.RenderSecrets(session, report))
    if layout.DATABASE in needed or layout.ADMIN in needed:
        _run(steps.PrepareDatabase(session, report))
    start = steps.StartAirflow(session, report)
    if needed and not start.check():
        _run(start)
        report(Notice("info", "Airflow runs with it"))


def _run(step: Step) -> None:
    step.run(lambda _message, _fraction: None)
