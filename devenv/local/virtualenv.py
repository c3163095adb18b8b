"""Airflow in a virtual environment of its own, under the user's cache, shared by the projects that ask for the same."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen

from devenv import process
from devenv.airflow.releases import Release
from devenv.environment import Environment
from devenv.errors import CommandFailed, TimedOut
from devenv.files import write_whole
from devenv.local import installed
from devenv.local.errors import InstallFailed, InterpreterMissing, RequirementsConflict
from devenv.published import packages_until, uv, uv_variables
from devenv.requirements import for_uv, references

EXTRAS = ("cncf.kubernetes", "hashicorp", "postgres", "statsd")
_MARKER = ".devenv-complete"
_CONSTRAINTS = "https://raw.githubusercontent.com/apache/airflow/constraints-{release}/constraints-{python}.txt"
_REACH_SECONDS = 2.0
_INSTALL_SECONDS = 1800.0
_RECIPE = "r2"
"""Part of the names of folders; another one has them made again. r2: packages of the day of the release."""
Say = Callable[[str], None]
"""Takes a line about what is being done."""


def lock_of(folder: Path) -> Path:
    """The lock file of a folder in the cache: who makes or removes the folder holds it."""
    return folder.with_name(folder.name + ".lock")


@contextlib.contextmanager
def _locked(folder: Path, say: Say) -> Iterator[None]:
    """Keeps two projects from making the same folder at once; a killed one leaves no lock behind."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock_of(folder).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another devenv, which installs the same")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def python_of(folder: Path) -> Path:
    """The interpreter of a virtual environment."""
    return folder / "bin" / "python"


class Installer:
    """Makes virtual environments with uv. `cancel` ends what runs, from another thread.

    Attributes:
        environment: where the cache lies, and the variables that uv gets (`UV_INDEX_URL`, proxies).
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._child: Popen[bytes] | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """Ends the running uv; what it made so far is made again next time."""
        self._cancelled = True
        child = self._child
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()

    def airflow_folder(self, release: str, requirements: Path) -> Path | None:
        """The folder in which `airflow` finds what it made for the same arguments; None when nothing is there yet."""
        digest = _digest(requirements)
        for python in _pythons(release):
            folder = self.environment.cache_folder / "airflow" / f"{release}-{python}-{digest}-{_RECIPE}"
            if (folder / _MARKER).exists() and python_of(folder).exists():
                return folder
        return None

    def airflow(self, release: str, requirements: Path, say: Say) -> Path:
        """The interpreter of a virtual environment with Airflow, and with what `requirements` asks for.

        Args:
            release: Airflow's.
            requirements: the project's `requirements.txt`; need not exist.
            say: told each line of uv.

        Raises:
            ReleaseMissing: there is no such release.
            InterpreterMissing: no such Python is here, and none could be fetched.
            InstallFailed: uv ended with an error.
        """
        made = self.airflow_folder(release, requirements)
        if made is not None:
            return python_of(made)
        python, interpreter = self._interpreter(release, say)
        digest = _digest(requirements)
        folder = self.environment.cache_folder / "airflow" / f"{release}-{python}-{digest}-{_RECIPE}"
        with _locked(folder, say):
            if not (folder / _MARKER).exists():
                self._make(folder, interpreter)
                packages = [f"apache-airflow[{','.join(EXTRAS)}]=={release}", *_own_parts(release), "psycopg2-binary"]
                limits, words = self._limits(release, python, say)
                self._install(folder, [*limits, *packages], say, f"Airflow {release}")
                beside = ""
                if requirements.is_file():
                    beside = self._install_requirements(folder, requirements, packages, (limits, words), say)
                if _digest(requirements) != digest:
                    raise InstallFailed("requirements.txt was changed while it was being installed", hint="devenv up")
                installed.write(folder, installed.Installed(release, words, beside, self._packages(folder)))
                (folder / _MARKER).touch()
        return python_of(folder)

    def programs(self, name: str, packages: Sequence[str], say: Say, *, cache: Path | None = None) -> Path:
        """A virtual environment with wheels that carry programs (Postgres); returns its folder.

        Args:
            name: of the folder; names the release of what is in it.
            packages: requirements, exact.
            say: told each line of uv.
            cache: in place of the user's cache folder.

        Raises:
            InstallFailed: uv ended with an error, for instance because no wheel exists for this platform.
        """
        folder = (cache or self.environment.cache_folder) / "programs" / name
        with _locked(folder, say):
            if not (folder / _MARKER).exists():
                self._make(folder, process.interpreter())
                self._install(folder, ["--only-binary", ":all:", "--no-deps", *packages], say, packages[-1])
                (folder / _MARKER).touch()
        return folder

    def _interpreter(self, release: str, say: Say) -> tuple[str, str]:
        versions = _pythons(release)
        for version in versions:
            found = process.run([uv(), "python", "find", "--no-python-downloads", version], check=False)
            if found.returncode == 0:
                return version, found.stdout.strip()
        say(f"fetching Python {versions[0]}")
        try:
            process.run(
                [uv(), "python", "install", versions[0]],
                variables=uv_variables(self.environment),
                timeout=_INSTALL_SECONDS,
            )
            found = process.run([uv(), "python", "find", "--no-python-downloads", versions[0]])
        except (CommandFailed, TimedOut) as error:
            raise InterpreterMissing(
                f"Airflow {release} runs on Python {versions[-1]} to {versions[0]}; none of them is installed, "
                "and none could be fetched",
                hint=f"install Python {versions[0]}, or set `[airflow] version` to a release for your Python",
                detail=(error.detail or error.message)[-2000:],
            ) from error
        return versions[0], found.stdout.strip()

    def _limits(self, release: str, python: str, say: Say) -> tuple[list[str], str]:
        """The release's constraints where they can be reached, else the index as it stood a day after the release.

        Returns uv's options, and the same in words for the record.
        """
        import requests

        kept = self.environment.cache_folder / "airflow" / f"constraints-{release}-{python}.txt"
        if not kept.exists():
            try:
                answer = requests.get(
                    _CONSTRAINTS.format(release=release, python=python), timeout=(_REACH_SECONDS, _REACH_SECONDS * 5)
                )
                answer.raise_for_status()
                write_whole(kept, answer.text)
            except requests.RequestException:
                until = packages_until(release, self.environment)
                if until is None:
                    say("Airflow's constraints cannot be reached, nor its day; the newest packages are taken")
                    return [], "none"
                say(f"Airflow's constraints cannot be reached; packages up to {until:%Y-%m-%d} are taken")
                return ["--exclude-newer", until.strftime("%Y-%m-%dT%H:%M:%SZ")], f"until {until:%Y-%m-%d}"
        return ["--constraint", str(kept)], "constraints"

    def _install_requirements(
        self, folder: Path, requirements: Path, packages: Sequence[str], limits: tuple[list[str], str], say: Say
    ) -> str:
        """Installs `requirements.txt`, resolved together with the release's own packages.

        Within the release's limits where that is possible; otherwise, as an image on top of the release's would, with
        whatever newer packages Airflow's own requirements allow. Returns which of the two, for the record.

        Raises:
            RequirementsConflict: there is no set of packages that both accept.
        """
        options, words = limits
        file = for_uv(requirements, folder / requirements.name)
        wanted, cwd = ["-r", str(file), *packages], requirements.parent
        code, lines = self._try([*options, *wanted], folder, _unheard, cwd)
        if code == 0:
            return words
        if options and not self._cancelled:
            say("requirements.txt asks for other packages than the release was published with; they are taken")
            code, lines = self._try(wanted, folder, say, cwd)
        alone = ([*options, *packages], ["-r", str(file)])
        if code != 0 and not self._cancelled and all(self._resolves(folder, each, cwd) for each in alone):
            raise RequirementsConflict(
                f"requirements.txt and {packages[0]} cannot be installed together",
                hint="change the line of requirements.txt that is named above, or `airflow.version`; then `devenv up`",
                detail=_shown(lines),
            )
        if code != 0:
            raise self._failed("requirements.txt", lines)
        return "none"

    def _resolves(self, folder: Path, arguments: Sequence[str], cwd: Path) -> bool:
        """Whether packages can be installed by themselves: the index answers, and has them."""
        return self._pip(["--dry-run", *arguments], folder, _unheard, cwd)[0] == 0

    def _packages(self, folder: Path) -> dict[str, str]:
        listed = process.run(
            [uv(), "pip", "list", "--format", "json", "--python", python_of(folder)],
            variables=uv_variables(self.environment),
        )
        return {one["name"]: one["version"] for one in json.loads(listed.stdout)}

    def _make(self, folder: Path, interpreter: str) -> None:
        if folder.exists():  # an interrupted one
            shutil.rmtree(folder)
        process.run([uv(), "venv", "--quiet", "--no-project", "--python", interpreter, folder], timeout=120)

    def _install(self, folder: Path, arguments: Sequence[str], say: Say, what: str) -> None:
        code, lines = self._try(arguments, folder, say)
        if code != 0:
            raise self._failed(what, lines)

    def _try(self, arguments: Sequence[str], folder: Path, say: Say, cwd: Path | None = None) -> tuple[int, list[str]]:
        """Installs what uv has in its cache without asking the index for each package, and fetches otherwise."""
        code, lines = self._pip([*arguments, "--offline"], folder, _unheard, cwd)
        if code != 0 and not self._cancelled:
            code, lines = self._pip(arguments, folder, say, cwd)
        return code, lines

    def _failed(self, what: str, lines: Sequence[str]) -> InstallFailed:
        return InstallFailed(
            f"Installing {what} {'was cancelled' if self._cancelled else 'failed'}",
            hint="look at the lines above; without a network only what uv has in its cache can be installed",
            detail=_shown(lines),
        )

    def _pip(self, arguments: Sequence[str], folder: Path, say: Say, cwd: Path | None = None) -> tuple[int, list[str]]:
        """Runs `uv pip install`; relative paths in a requirements file are taken from `cwd`."""
        command = [uv(), "pip", "install", "--python", str(python_of(folder)), "--color", "never", *arguments]
        lines: list[str] = []
        variables = uv_variables(self.environment)
        child = process.start(command, stderr=STDOUT, variables=variables, cwd=cwd or folder)
        self._child = child
        try:
            assert child.stdout is not None
            for raw in child.stdout:
                line = raw.decode(errors="replace").strip()
                lines.append(line)
                if line and not line.startswith(("+ ", "Using Python")):
                    say(line)
            code = child.wait()
        finally:
            self._child = None
            process.stop(child)
        return code, lines


def _own_parts(release: str) -> list[str]:
    """Of a pre-release, the packages that it is made of: uv takes pre-releases only of what is named as one."""
    if not re.search(r"(a|b|rc)\d+$", release):
        return []
    return [f"apache-airflow-core=={release}", "apache-airflow-task-sdk>=1.0.0b1"]


def _pythons(release: str) -> list[str]:
    """The minor versions of Python that a release runs on, the newest first."""
    return sorted(Release(release).python_versions, key=lambda version: int(version.split(".")[1]), reverse=True)


def _digest(requirements: Path) -> str:
    """What tells one set of packages from another; "base" when the project asks for none."""
    if not requirements.is_file():
        return "base"
    found = references(requirements)
    more = [found.digest()] if len(found.files) > 1 or found.packages else []
    return hashlib.sha256(json.dumps([EXTRAS, requirements.read_text(), *more]).encode()).hexdigest()[:12]


def _shown(lines: Sequence[str]) -> str:
    """What uv said, without the packages that it installed."""
    return "\n".join(line for line in lines if not line.startswith("+ "))[-4000:]


def _unheard(_line: str) -> None:
    """Takes what nobody needs to see."""


_COMPILE = """
import compileall, os, re, sys
libraries, marker, what, packages = sys.argv[1:]
late = re.compile(rf"/({packages}|pip|tests?|testing)/")
if what == "rest":
    os.nice(19)
compileall.compile_dir(libraries, quiet=2, workers=1 if what == "rest" else os.cpu_count() or 1,
                       rx=None if what == "rest" else late)
open(marker, "w").close()
"""


class Bytecode:
    """The bytecode of a virtual environment, which uv does not write unless told, and then all of it.

    Airflow here writes none itself (`PYTHONDONTWRITEBYTECODE`, for the sake of the DAG folder), and without any each of
    its processes starts five seconds later. So what starting needs is compiled while the database is being
    prepared, and the rest, which few DAGs use, at the lowest priority afterwards.

    Args:
        folder: the virtual environment.
        release: of Airflow; knows what starting does not need.
    """

    def __init__(self, folder: Path, release: str) -> None:
        self._folder = folder
        self._late = "|".join(Release(release).late_packages)
        self._child: Popen[bytes] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether what starting needs was compiled."""
        return self._marker("needed").exists()

    def compile_needed(self) -> None:
        """Compiles what starting needs, and waits for it; a failure costs seconds later, nothing else."""
        self._child = self._start("needed")
        self._child.wait()

    def compile_rest(self) -> None:
        """Compiles the rest and does not wait."""
        if not self._marker("rest").exists():
            process.leave(self._start("rest"))

    def cancel(self) -> None:
        """Ends `compile_needed`, from another thread."""
        if self._child is not None:
            process.stop(self._child)

    def _marker(self, what: str) -> Path:
        return self._folder / f".devenv-compiled-{what}"

    def _start(self, what: str) -> Popen[bytes]:
        arguments = (str(self._folder / "lib"), str(self._marker(what)), what, self._late)
        command = [str(python_of(self._folder)), "-I", "-c", _COMPILE, *arguments]
        return process.start(command, stdout=DEVNULL, stderr=DEVNULL, cwd=self._folder)
