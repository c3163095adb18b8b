"""The local backend: real Airflow, Postgres and Vault as processes of this machine."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal

from devenv import process
from devenv.airflow.releases import Release
from devenv.airflow.rest import Credentials
from devenv.backends.base import (
    Component,
    EnvironmentStatus,
    EnvironmentStopped,
    Health,
    LogQuery,
    Surroundings,
    TaskRunner,
)
from devenv.errors import DevenvError
from devenv.events import LogLine, Notice, Reporter
from devenv.local.errors import NotRunning
from devenv.local.session import LocalSession
from devenv.project import Project
from devenv.supervisor.client import SupervisorClient
from devenv.supervisor.component import ComponentState, exit_words

if TYPE_CHECKING:
    import hvac

    from devenv.airflow.client import AirflowClient
    from devenv.airflow.model import TaskKey
    from devenv.boot.step import Step
    from devenv.sync.model import Listener, Target
    from devenv.vault.keeper import SeedKeeper
    from devenv.vault.staleness import StalePod

_LINGER_SECONDS = 1_800.0
"""How long the process that runs tasks waits for the next."""
_HEALTH: dict[str, Health] = {"running": "running", "waiting": "starting", "looping": "failed", "stopped": "stopped"}


class LocalBackend:
    """See `devenv.backends.base.Backend`."""

    name: Literal["minikube", "kubernetes", "local"] = "local"

    def __init__(self, project: Project, reason: str, report: Reporter) -> None:
        """Looks at nothing yet.

        Args:
            project: whose environment.
            reason: why this backend was chosen.
            report: takes notices of `up`: a port that is taken, SQLite in place of Postgres.
        """
        self.reason = reason
        self._project = project
        self._report = report
        self._session = LocalSession(project)

    # Life

    def up_steps(self) -> Sequence[Step]:
        """See `Backend`; a supervisor that these steps start ends with this process unless they all end well."""
        from devenv.local import steps

        left_out = [part for part in self._project.settings.parts if part != "celery"]  # which is refused
        if left_out:
            said = f"the local backend has no {' and no '.join(left_out)}"
            self._report(Notice("warning", said, "devenv up --backend minikube"))
        kinds = (
            steps.Preflight,
            steps.InstallAirflow,
            steps.StartPostgres,
            steps.StartVault,
            steps.RenderSecrets,
            steps.CompileAirflow,
            steps.PrepareDatabase,
            steps.StartAirflow,
            steps.LetGo,
        )
        return [kind(self._session, self._report) for kind in kinds]

    def down_steps(self) -> Sequence[Step]:
        """See `Backend`."""
        from devenv.local import steps

        return [steps.Stop(self._session, self._report)]

    def destroy_steps(self) -> Sequence[Step]:
        """See `Backend`."""
        from devenv.local import steps

        return [steps.Stop(self._session, self._report), steps.Remove(self._session, self._report)]

    def destroys(self) -> Sequence[str]:
        """See `Backend`."""
        from devenv.local import steps

        return [str(path) for path in steps.removed_paths(self._session) if path.exists()]

    def task_runner(self, report: Reporter) -> TaskRunner:  # noqa: ARG002 (nothing has to be made)
        """See `Backend`: a process of its own on this machine, which ends with the environment."""
        from devenv.agent_program import TASKS, agent_command
        from devenv.local import airflow_processes
        from devenv.sync.roots import roots_of
        from devenv.sync.targets.child import ChildDuplex

        session = self._session
        answer = session.answer()
        if answer is None:
            raise EnvironmentStopped(session.rests)
        python, claim = session.python(), session.places.claim
        variables = airflow_processes.variables(self._project, session.places, python)
        command = agent_command(str(python), module=TASKS)
        return TaskRunner(
            open=lambda: ChildDuplex(command, variables=variables, cwd=session.places.airflow_home),
            folders={root.name: str(claim / root.name) for root in roots_of(self._project)},
            linger=_LINGER_SECONDS,
            owner=answer.pid,
        )

    def seed_keeper(self) -> SeedKeeper:
        """See `Backend`: the file on this machine, which the seeder reads."""
        from devenv.vault.keeper import SeedKeeper

        return SeedKeeper(self._project)

    def stale_secrets(self) -> Sequence[StalePod]:
        """See `Backend`."""
        from devenv.local import renewal

        return renewal.stale(self._session)

    def renew_secrets(self, report: Reporter, *, restart: bool) -> None:
        """See `Backend`."""
        from devenv.local import renewal

        renewal.renew(self._session, report, restart=restart)

    def surroundings(self) -> Surroundings | None:
        """See `Backend`."""
        session = self._session
        folder = session.airflow_folder()
        configuration = session.places.secrets / "airflow.cfg"
        with suppress(OSError):
            return Surroundings(session.answer() is not None, (folder, configuration.stat().st_mtime_ns))
        return Surroundings(session.answer() is not None, (folder, 0))

    @contextmanager
    def during_watch(self, report: Reporter) -> Iterator[None]:
        """Tells of crashes; the environment outlives the watch, as in a cluster."""
        listener = SupervisorClient.connect(self._session.places.data)
        if listener is not None:
            threading.Thread(target=listener.listen, args=(_Crashes(report).told,), daemon=True).start()
        try:
            yield
        finally:
            if listener is not None:
                listener.close()

    def reconcile(self, report: Reporter) -> None:
        """Installs a changed `requirements.txt` beside the running environment, then starts Airflow again from it."""
        from devenv.local import steps

        for kind in (steps.InstallAirflow, steps.CompileAirflow, steps.RenderSecrets, steps.StartAirflow):
            step = kind(self._session, report)
            if step.check():
                continue
            report(Notice("info", f"{step.title} …"))
            step.run(lambda _message, _fraction: None)

    # What there is

    def status(self) -> EnvironmentStatus:
        """See `Backend`."""
        session = self._session
        answer = session.answer()
        release = Release(session.release)
        expected = [*(["postgres"] if session.postgres is not None else []), "vault", *release.components]
        found = {state.name: state for state in answer.components} if answer is not None else {}
        parts = tuple(_component(name, found.get(name)) for name in [*expected, *sorted(set(found) - set(expected))])
        running = sum(part.health == "running" for part in parts)
        state: Literal["up", "partly", "stopped", "missing"] = "partly"
        if running == len(parts) and answer is not None:
            state = "up"
        elif not running:
            state = session.rests
        urls: dict[str, str] = {}
        if answer is not None:
            ports = session.ports()
            urls = {release.page: f"http://127.0.0.1:{ports.airflow}", "vault": f"http://127.0.0.1:{ports.vault}"}
        versions = {"airflow": release.version}
        return EnvironmentStatus("local", self._project.identifier, state, parts, urls, versions)

    def open_target(self, listener: Listener, *, take_over: bool = False, verdicts: bool = True) -> Target:
        """See `Backend`: the agent as a child process, on the claim in `.devenv/`."""
        from devenv.agent_program import agent_command
        from devenv.local import airflow_processes
        from devenv.sync.roots import roots_of
        from devenv.sync.targets.agent import AgentOptions, AgentTarget, Owner
        from devenv.sync.targets.child import ChildDuplex

        session, settings = self._session, self._project.settings
        python = session.python()
        claim = session.places.claim
        claim.mkdir(parents=True, mode=0o700, exist_ok=True)
        variables = airflow_processes.variables(self._project, session.places, python)
        owner = Owner(self._project.identifier, platform.node(), _user(), str(self._project.folder))
        options = AgentOptions(
            claim=str(claim),
            airflow=str(claim),
            verdicts=verdicts,
            check=settings.check,
            take_over=take_over,
            vault_mount=settings.vault.mount,
        )
        return AgentTarget(
            lambda: ChildDuplex(agent_command(str(python)), variables=variables, cwd=session.places.airflow_home),
            listener,
            owner,
            [root.name for root in roots_of(self._project)],
            options,
        )

    def airflow(self) -> AirflowClient:
        """See `Backend`."""
        return self._session.airflow()

    def vault(self) -> hvac.Client:
        """See `Backend`."""
        from devenv.vault import seeds
        from devenv.vault.client import open_client

        token = seeds.load_or_create(self._project).root_token
        return open_client(f"http://127.0.0.1:{self._session.ports().vault}", token)

    def credentials(self) -> Credentials:
        """See `Backend`; read from the seeds, so it answers while nothing runs."""
        return self._session.credentials()

    def logs(self, query: LogQuery) -> Iterator[LogLine]:
        """See `Backend`."""
        from devenv.local import logs
        from devenv.logs.scrub import Scrubber

        scrub = Scrubber(self.known_secrets())
        return logs.read(self._session.places.logs, query, scrub, self._project.environment.now())

    def known_secrets(self) -> Sequence[str]:
        """See `Backend`; what a password manager printed is asked of Vault, where it was put."""
        from devenv.vault import seeds
        from devenv.vault.store import SecretStore

        known = seeds.load_or_create(self._project)
        found = seeds.known_values(self._project, known)
        printed = seeds.printed_by_commands(known)
        if printed:
            with suppress(DevenvError):  # Vault does not run: then they were not printed
                held = SecretStore(self.vault(), self._project.settings.vault.mount).read_all()
                found += [held[path][key] for path, key in printed if key in held.get(path, {})]
        return found

    def explain_task(self, task: TaskKey) -> tuple[str, str]:  # noqa: ARG002
        """See `Backend`: nothing here keeps a task waiting but the scheduler."""
        answer = self._session.answer()
        state = next((part for part in answer.components if part.name == "scheduler"), None) if answer else None
        running = state is not None and state.state == "running"
        return ("", "") if running else ("the scheduler does not run", "devenv up")

    def exports(self) -> Mapping[str, str]:
        """See `Backend`."""
        from devenv.local import airflow_processes

        session = self._session
        variables = airflow_processes.variables(self._project, session.places, session.python())
        wanted = ("AIRFLOW_HOME", "AIRFLOW_CONFIG", "DEVENV_SECRETS_FOLDER", "PYTHONPATH", "PATH")
        return {name: variables[name] for name in wanted}

    def command(self, component: str, command: Sequence[str], *, interactive: bool) -> subprocess.Popen[bytes]:
        """See `Backend`; `psql` runs for `postgres`, everything else in Airflow's own environment."""
        from devenv.local import airflow_processes

        session = self._session
        known = {part.name for part in self.status().components}
        if component not in known:
            raise NotRunning(
                f"The local backend has no component {component!r}", hint=f"one of {', '.join(sorted(known))}"
            )
        streams: dict[str, Any] = {"stdin": None, "stdout": None, "stderr": None, "own_session": False}
        if component == "postgres" and session.postgres is not None:
            programs = session.postgres.install(lambda _line: None)
            variables = session.postgres.variables(programs, session.ports().postgres)
        else:
            variables = airflow_processes.variables(self._project, session.places, session.python())
        cwd = session.places.airflow_home if session.places.airflow_home.is_dir() else self._project.folder
        return process.start(command, variables=variables, cwd=cwd, **(streams if interactive else {}))


class _Crashes:
    """Tells a person of crashes and restarts."""

    def __init__(self, report: Reporter) -> None:
        self._report = report

    def told(self, message: dict[str, Any]) -> None:
        """Takes a message of the supervisor."""
        if message.get("event") != "crashed":
            return
        name, words = message["component"], exit_words(message["exit_code"])
        last = "\n".join(message["lines"][-12:])
        if message["looping"]:
            text, level = f"{name} {words} again and again; it is tried every few seconds", "error"
        else:
            text, level = f"{name} {words}; it is started again", "warning"
        self._report(Notice(level, f"{text}\n{last}".rstrip(), f"devenv logs {name}"))  # type: ignore[arg-type]


def _component(name: str, state: ComponentState | None) -> Component:
    if state is None:
        return Component(name, "missing")
    detail = ""
    if state.state in ("waiting", "looping"):
        detail = "\n".join([exit_words(state.exit_code), *state.lines[-12:]])
    return Component(name, _HEALTH[state.state], detail, state.restarts, state.since)


def _user() -> str:
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return str(os.getuid())
