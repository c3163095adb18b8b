"""Airflow, its database, Vault: asked as their users ask them, on every backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from devenv.airflow.releases import Release
from devenv.doctor.check import Check, Finding, Fix, failure, ok, skipped, warning
from devenv.record import broken_now
from devenv.vault import layout
from devenv.vault.client import explained
from devenv.vault.store import SecretStore

if TYPE_CHECKING:
    from devenv.airflow.client import AirflowClient
    from devenv.backends.base import Backend, EnvironmentStatus
    from devenv.project import Project
    from devenv.verdict import Verdict

Restart = Callable[[str], Fix | None]
"""What makes a component start again, None where `--fix` cannot."""

_HEARTBEATS = {"scheduler": "scheduler", "triggerer": "triggerer", "dag_processor": "dag-processor"}


def checks(project: Project, backend: Backend, restart: Restart, *, before: tuple[str, ...]) -> list[Check]:
    """The checks of the platform.

    Args:
        project: what should run.
        backend: where it runs.
        restart: how `--fix` starts a component again.
        before: the check of the backend's own without which none of these makes sense.
    """
    airflow = backend.airflow
    found = [
        Check("components", "Components", lambda: components(backend.status()), needs=before),
        Check("vault", "Vault", lambda: vault(project, backend, restart("vault")), needs=before),
        Check("webserver", "Airflow's page", lambda: webserver(airflow()), needs=before),
        Check("database", "Database", lambda: database(airflow(), restart("postgres")), needs=("webserver",)),
    ]
    for part, component in _HEARTBEATS.items():
        if part == "dag_processor" and not Release(project.settings.airflow.version).is_3:
            continue
        found.append(
            Check(
                component,
                component.capitalize(),
                lambda part=part, component=component: heartbeat(  # type: ignore[misc]
                    airflow(), part, component, project.environment.now(), restart(component)
                ),
                needs=("webserver",),
            )
        )
    found += [
        Check("release", "Release", lambda: release(airflow(), project.settings.airflow.version), needs=("webserver",)),
        Check(
            "dag-files", "DAG files", lambda: dag_files(airflow(), broken_now(project)), needs=("database", "release")
        ),
    ]
    return found


def components(status: EnvironmentStatus) -> Finding:
    """Everything that should run runs, as the backend sees it."""
    if status.state == "missing":
        return failure("nothing is set up", "devenv up")
    if status.state == "stopped":
        return failure("everything is stopped", "devenv up")
    ill = [part for part in status.components if part.health in ("failed", "missing", "stopped")]
    if ill:
        first = ill[0]
        said, _, detail = first.detail.partition("\n")
        more = f"; also {', '.join(part.name for part in ill[1:])}" if len(ill) > 1 else ""
        return failure(
            f"{first.name} is {first.health}" + (f": {said}" if said else "") + more,
            f"devenv logs {first.name}; devenv up starts what is missing",
            detail=detail,
        )
    starting = [part.name for part in status.components if part.health == "starting"]
    if starting:
        return warning(f"still starting: {', '.join(starting)}", "devenv status --watch")
    restarted = [f"{part.name} {part.restarts} times" for part in status.components if part.restarts >= 3]
    if restarted:
        return warning(f"restarted: {', '.join(restarted)}", "devenv logs COMPONENT   shows what it wrote before")
    return ok(", ".join(part.name for part in status.components))


def vault(project: Project, backend: Backend, fix: Fix | None) -> Finding:
    """Vault answers, is not sealed, and holds what pods fetch."""
    settings = project.settings.vault
    client = backend.vault()
    with explained(client):
        sealed = bool(client.sys.read_seal_status().get("sealed"))
    if sealed:
        return failure("Vault is sealed: no pod can start", "devenv logs vault; its seeder starts it again", fix=fix)
    store = SecretStore(client, settings.mount)
    listing = layout.secrets_list(settings, project.settings.parts)
    missing = []
    for secret in listing["secrets"]:
        held = store.read(secret["path"])
        where = f"{settings.mount}/{secret['path']}"
        lacking = [
            name for name in secret.get("keys", ()) if name not in {**secret.get("defaults", {}), **(held or {})}
        ]
        if held is None:
            missing.append(where)
        elif lacking:
            missing.append(f"{where} key {', '.join(lacking)}")
    if missing:
        return failure(
            f"Vault lacks {'; '.join(dict.fromkeys(missing[:5]))}: pods that fetch it do not start",
            "devenv secrets seed",
            fix=fix,
        )
    return ok(f"unsealed, {len(listing['secrets'])} paths")


def webserver(client: AirflowClient) -> Finding:
    """Airflow's page answers; an error of the connection is the finding."""
    client.health()
    return ok(client.base_url)


def database(client: AirflowClient, fix: Fix | None) -> Finding:
    """The metadata database answers Airflow."""
    part = client.health().get("metadatabase")
    if part is None or part.status != "healthy":
        return failure("Airflow cannot use its metadata database", "devenv logs postgres", fix=fix)
    return ok("healthy")


def heartbeat(client: AirflowClient, part: str, component: str, now: float, fix: Fix | None) -> Finding:
    """A part of Airflow gave a sign of life lately, by Airflow's own word."""
    found = client.health().get(part)
    if found is None or found.status == "unknown":
        return failure(f"the {component} never ran on this database", f"devenv logs {component}", fix=fix)
    if found.status != "healthy":
        age = f", the last {now - found.at:.0f} s ago" if found.at else ""
        effect = {
            "scheduler": "no task is started",
            "triggerer": "deferred tasks do not go on",
            "dag-processor": "saved DAG files are not parsed",
        }[component]
        return failure(f"the {component} gives no sign of life{age}: {effect}", f"devenv logs {component}", fix=fix)
    return ok("healthy")


def release(client: AirflowClient, wanted: str) -> Finding:
    """The password is right, and what runs is what the settings ask for."""
    running = client.version()
    if not running.startswith(wanted):
        return warning(f"Airflow {running} runs, and the settings ask for {wanted}", "devenv up   moves to it")
    return ok(running)


def dag_files(client: AirflowClient, judged: Sequence[Verdict] = ()) -> Finding:
    """The scheduler can parse every file, and the watch holds none for broken."""
    from devenv.airflow.model import dag_path, last_line

    found = {dag_path(problem.file): last_line(problem.trace) for problem in client.import_errors()}
    for verdict in judged:
        found.setdefault(verdict.file, verdict.reason)
    if found:
        lines = [f"{file}: {reason}" for file, reason in sorted(found.items())]
        return warning(
            f"{len(lines)} are broken, the first is {lines[0]}",
            "devenv dags --broken",
            detail="\n".join(lines[1:]),
        )
    return ok("all parse")


def nothing_runs(status: EnvironmentStatus) -> Finding:
    """For the checks that need a running environment: whether there is one."""
    if status.state in ("missing", "stopped"):
        return skipped(f"the environment is {status.state}")
    return ok(status.state)
