"""What `devenv up`, `down` and `destroy` do on the local backend."""

from __future__ import annotations

import errno
import shutil
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from devenv import process
from devenv.airflow.releases import Release
from devenv.airflow.upgrade import require_not_older
from devenv.boot.step import Progress, Step
from devenv.errors import CommandFailed
from devenv.events import Notice, Reporter
from devenv.local import airflow_processes, answering, configuration, ports, vault_processes, virtualenv
from devenv.local.errors import DatabaseFailed, DiskFull, PlatformUnsupported
from devenv.local.session import LocalSession
from devenv.supervisor import client
from devenv.supervisor.component import ComponentSpec, exit_words
from devenv.sync.roots import roots_of
from devenv.vault import layout, local, programs, seeds, server
from devenv.vault.local import LocalSeeder

ROLE = "scheduler"
"""Everything here shares one folder of secrets, so one role of Vault; tasks run below the scheduler anyway."""
_TEMPLATE = "metadata-database.sql"
"""The migrated, empty metadata database, beside the packages that migrated it."""


class LocalStep(Step):
    """A step that works on one local environment."""

    def __init__(self, session: LocalSession, report: Reporter) -> None:
        self.session = session
        self.report = report

    def run(self, progress: Progress) -> str:
        """Does `work`; a full disk, which may meet any of it, is named.

        Raises:
            DiskFull: there is no room.
        """
        try:
            return self.work(progress)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFull(
                f"No space is left on the disk{f' of {error.filename}' if error.filename else ''}",
                hint=f"make room, then `devenv up` goes on; what devenv can make again lies in "
                f"{self.session.project.environment.cache_folder}",
            ) from error

    @abstractmethod
    def work(self, progress: Progress) -> str:
        """What `Step.run` is to do."""

    def cancel(self) -> None:
        """Ctrl-C: what this run of devenv started ends with it."""
        self.session.cancelled.set()
        self.session.installer.cancel()


def _make_folders(session: LocalSession) -> None:
    """Makes the environment's folders, and all that is on PYTHONPATH."""
    session.places.make(
        (*(root.name for root in roots_of(session.project)), *session.project.settings.sync.python_path)
    )


class Preflight(LocalStep):
    """Folders, ports, the supervisor."""

    name = "preflight"
    title = "Look at this machine"

    def check(self) -> bool:
        """Whether a supervisor runs, on ports that were chosen, with its folder still there."""
        session = self.session
        running = session.answer()
        return (
            running is not None
            and ports.remembered(session.places.data) is not None
            and (session.places.claim / "dags").is_dir()
            and any(state.state == "running" for state in running.components)
        )

    def work(self, progress: Progress) -> str:
        """Makes the folders, chooses the ports and starts the supervisor."""
        session = self.session
        if not client.supported():
            raise PlatformUnsupported("The local backend runs on Linux and macOS only", hint="use WSL 2 on Windows")
        session.project.make_state_folder()
        _make_folders(session)
        former = session.client()
        if former is not None:
            # It lost its folders (`.devenv` was deleted), or nothing of it runs: start from the beginning.
            former.stop(lambda name: progress(f"ending {name}", None))
            former.close()
        wanted = session.project.settings.ports
        chosen, said = ports.choose(session.places.data, {"airflow": wanted.airflow, "vault": wanted.vault})
        for sentence in said:
            self.report(Notice("info", sentence))
        if session.postgres is None:
            self.report(
                Notice(
                    "warning",
                    "there is no Postgres for this platform: the metadata database is SQLite, one task runs at a time",
                    "for more, run devenv on x86-64 or ARM with glibc, or on macOS",
                )
            )
        session.supervisor()
        return f"ports {chosen.airflow}, {chosen.vault}"


class InstallAirflow(LocalStep):
    """The virtual environment with Airflow."""

    name = "airflow-packages"
    title = "Install Airflow"
    after = ("preflight",)

    def check(self) -> bool:
        """Whether it was made, by this project or another."""
        return self.session.airflow_folder() is not None

    def work(self, progress: Progress) -> str:
        """Has uv make it."""
        session = self.session
        python = session.installer.airflow(session.release, session.requirements, lambda line: progress(line, None))
        return f"{session.release} in {python.parent.parent}"


class CompileAirflow(LocalStep):
    """Airflow's bytecode, while the database is being prepared."""

    name = "bytecode"
    title = "Compile Airflow"
    after = ("airflow-packages",)

    def _bytecode(self) -> virtualenv.Bytecode:
        folder = self.session.airflow_folder()
        assert folder is not None
        return virtualenv.Bytecode(folder, self.session.release)

    def check(self) -> bool:
        """Whether it was compiled, by this project or another."""
        return self._bytecode().is_complete

    def work(self, progress: Progress) -> str:  # noqa: ARG002
        """Compiles what starting needs."""
        self._running = self._bytecode()
        self._running.compile_needed()
        return ""

    def cancel(self) -> None:
        """Ends the compiler."""
        super().cancel()
        self._running.cancel()


class StartPostgres(LocalStep):
    """The metadata database's server."""

    name = "postgres"
    title = "Start Postgres"
    after = ("preflight",)

    def check(self) -> bool:
        """Whether it runs; the first that must know which release made the database.

        Raises:
            ReleaseTooOld: a later one than is asked for.
        """
        session = self.session
        if session.postgres is None:
            return True
        if not session.runs("postgres"):
            return False
        require_not_older(session.noted_release(), session.release)
        return True

    def work(self, progress: Progress) -> str:
        """Installs it, makes the database and starts the server."""
        session = self.session
        postgres = session.postgres
        assert postgres is not None
        programs_folder = postgres.install(lambda line: progress(line, None))
        progress("making the database", None) if not postgres.exists else None
        known = seeds.load_or_create(session.project)
        secrets = seeds.secrets_at(session.project, known, layout.DATABASE, session.database_url())
        postgres.create(programs_folder, secrets["POSTGRES_PASSWORD"])
        port = session.ports().postgres
        session.supervisor().apply([postgres.component(programs_folder, port)])
        progress("waiting for Postgres to take connections", None)
        postgres.wait_ready(programs_folder, port)
        require_not_older(session.noted_release(), session.release)
        return f"port {port}"


class StartVault(LocalStep):
    """The dev Vault, filled from the seeds."""

    name = "vault"
    title = "Start Vault"
    after = ("preflight",)

    def check(self) -> bool:
        """Whether it runs, with what keeps it seeded."""
        return self.session.runs("vault") and self.session.runs(vault_processes.SEEDER)

    def work(self, progress: Progress) -> str:
        """Finds or installs the program, starts it and fills it."""
        session = self.session
        program = server.find_program(session.project.environment, lambda line: progress(line, None))
        port = session.ports().vault
        vault_processes.write_settings(session)
        session.supervisor().apply(vault_processes.components(session, program))
        address = f"http://127.0.0.1:{port}"
        server.wait_until_ready(address, session.places.logs / "vault.log")
        progress("seeding", None)
        # The seeder would do it, a second later.
        LocalSeeder(session.project, address, session.database_url).seed()
        return f"port {port}, {program.name}"


class RenderSecrets(LocalStep):
    """Env files and `airflow.cfg`, from Vault."""

    name = "secrets"
    title = "Fetch secrets from Vault"
    after = ("vault", "postgres")  # nothing that runs is changed where the database refuses the release

    def check(self) -> bool:
        """Never: what is in Vault may have changed, and asking is as quick as looking."""
        return False

    def work(self, progress: Progress) -> str:  # noqa: ARG002
        """Runs the program that a pod's init container runs."""
        session = self.session
        template = session.places.data / "airflow.cfg.template"
        template.write_text(configuration.template(session))
        revisions = local.fetch(
            session.project,
            component=ROLE,
            address=f"http://127.0.0.1:{session.ports().vault}",
            folder=session.places.secrets,
            template=template,
        )
        if Release(session.release).users == "file":
            variables = airflow_processes.variables(session.project, session.places, Path(process.interpreter()))
            process.run([process.interpreter(), programs.folder() / "admin_user.py"], variables=variables)
        return f"{len(revisions)} paths"


def _airflow(session: LocalSession) -> Sequence[ComponentSpec]:
    """Airflow's processes as the settings have them now; none before it is installed and its secrets are fetched."""
    if session.airflow_folder() is None or not (session.places.secrets / "airflow.cfg").exists():
        return ()
    return airflow_processes.components(session.project, session.places, session.python(), session.ports().airflow)


class PrepareDatabase(LocalStep):
    """The metadata database's schema and the admin user."""

    name = "database"
    title = "Prepare the metadata database"
    after = ("airflow-packages", "postgres", "secrets")

    def check(self) -> bool:
        """Whether this Airflow runs, which it only does on a prepared database."""
        schedulers = [component for component in _airflow(self.session) if component.name == "scheduler"]
        return bool(schedulers) and all(self.session.runs(component) for component in schedulers)

    def work(self, progress: Progress) -> str:
        """Restores the release's template into an empty database, then runs what prepares it on a cluster too."""
        session = self.session
        folder = session.airflow_folder()
        assert folder is not None
        template = folder / _TEMPLATE
        noted = session.noted_release()
        if noted is not None and noted != session.release:
            self._end_airflow()  # nobody may use the database while it is migrated
        restored = self._restore(template)
        if not restored:
            progress("looking at the schema" if noted == session.release else "migrating", None)
        python = session.python()
        variables = airflow_processes.variables(session.project, session.places, python)
        airflow_processes.install_policy(session.places)
        try:
            done = process.run(
                [python, programs.folder() / "prepare_database.py"],
                variables=variables,
                cwd=session.places.airflow_home,
                timeout=600,
            )
        except CommandFailed as error:
            raise DatabaseFailed(
                "The metadata database could not be prepared",
                hint="devenv logs postgres",
                detail=(error.detail or "")[-3000:],
            ) from error
        if session.postgres is not None and noted is None and not template.exists():
            # Made from nothing just now: nobody's runs are in it.
            postgres_programs = session.postgres.install(lambda _line: None)
            session.postgres.save(postgres_programs, session.ports().postgres, template)
        said = [line for line in done.stderr.splitlines() if line.startswith(("migrating", "the metadata"))]
        return "restored" if restored else (said[-1] if said else "")

    def _end_airflow(self) -> None:
        """Ends the processes of the release that is left."""
        supervisor = self.session.client()
        if supervisor is None:
            return
        running = [state.name for state in supervisor.status().components if state.name in airflow_processes.NAMES]
        if running:
            supervisor.stop_components(running)

    def _restore(self, template: Path) -> bool:
        postgres = self.session.postgres
        if postgres is None or not template.exists():
            return False
        try:
            return postgres.restore(postgres.install(lambda _line: None), self.session.ports().postgres, template)
        except CommandFailed:
            # A template that cannot be used is made again; the migration does the work.
            template.unlink(missing_ok=True)
            return False


class StartAirflow(LocalStep):
    """Airflow's processes."""

    name = "airflow"
    title = "Start Airflow"
    after = ("database", "bytecode")

    def check(self) -> bool:
        """Whether all run, with the settings as they are."""
        components = _airflow(self.session)
        return bool(components) and all(self.session.runs(component) for component in components)

    def work(self, progress: Progress) -> str:
        """Has the supervisor start them and waits until they are well."""
        session = self.session
        _make_folders(session)  # settings may have got more of them since the first start
        airflow_processes.install_policy(session.places)
        components = _airflow(session)
        supervisor = session.supervisor()
        running = supervisor.status()
        leaving = {state.name for state in running.components if state.name in airflow_processes.NAMES} - {
            component.name for component in components
        }
        if leaving:  # of another release
            supervisor.stop_components(sorted(leaving))
        # What a person waits for has the processors first: the triggerer's imports alone take three seconds of one.
        supervisor.apply([component for component in components if component.name in airflow_processes.FIRST])
        airflow_processes.wait_healthy(
            session.release,
            session.ports().airflow,
            lambda: [
                (state.name, state.state, "\n".join([*state.lines, f"{state.name} {exit_words(state.exit_code)}"]))
                for state in supervisor.status().components
            ],
            lambda line: progress(line, None),
            session.cancelled.is_set,
        )
        supervisor.apply(components)
        if not session.cancelled.is_set():
            answering.require_answers(session)
        folder = session.airflow_folder()
        assert folder is not None
        virtualenv.Bytecode(folder, session.release).compile_rest()
        return f"http://127.0.0.1:{session.ports().airflow}"


class LetGo(LocalStep):
    """The environment no longer ends with this process: it goes on until `devenv down`."""

    name = "let-go"
    title = "Leave it running"
    after = ("airflow",)

    def check(self) -> bool:
        """Whether another process started it."""
        return not self.session.started_here

    def work(self, progress: Progress) -> str:  # noqa: ARG002
        """Tells the supervisor."""
        self.session.release_supervisor()
        return ""


class Stop(LocalStep):
    """Ends the components, in order."""

    name = "stop"
    title = "Stop the local environment"

    def check(self) -> bool:
        """Whether nothing runs."""
        return self.session.client() is None

    def work(self, progress: Progress) -> str:
        """Airflow first, then Vault and Postgres."""
        supervisor = self.session.client()
        if supervisor is not None:
            supervisor.stop(lambda name: progress(f"ending {name}", None))
            supervisor.close()
        return ""


class Remove(LocalStep):
    """Removes the environment's data."""

    name = "remove"
    title = "Remove its data"
    after = ("stop",)

    def check(self) -> bool:
        """Whether nothing is there."""
        return not any(path.exists() for path in removed_paths(self.session))

    def work(self, progress: Progress) -> str:
        """Removes the database, the logs and `.devenv/`; the secrets that the user set stay."""
        for path in removed_paths(self.session):
            progress(str(path), None)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if self.session.postgres is not None:
            self.session.postgres.destroy()
        return ""


def removed_paths(session: LocalSession) -> list[Path]:
    """The files and folders that `destroy` removes: all but the seeds, which hold what the user set."""
    kept = seeds.kept_file(session.project)
    data = session.project.data_folder
    paths = [session.project.state_folder]
    if data.is_dir():
        paths += sorted(path for path in data.iterdir() if path != kept)
    if session.postgres is not None and not session.postgres.folder.is_relative_to(data):
        paths.append(session.postgres.folder)
    return paths
