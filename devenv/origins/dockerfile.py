"""A `Dockerfile` of Airflow, or of Astro Runtime: the release, ENV, and folders that COPY brings beside the DAGs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devenv.origins.found import Found, NotTaken
from devenv.origins.homes import Mount, folders_of, python_path_of
from devenv.origins.packages import packages_of
from devenv.origins.text import read_text
from devenv.origins.variables import interpolated, taken

_AIRFLOW = re.compile(r"(?:\S+/)?apache/airflow:(?:slim-)?(\d+\.\d+\.\d+)(?:-\S+)?")
_PACKAGE = re.compile(r"apache-airflow(?:\[[^\]]*\])?==[\"']?(\d+\.\d+\.\d+)")
_RUNTIME = re.compile(r"(?:\S*/)?(?:astro-runtime|astrocrpublic\.azurecr\.io/runtime):(\d+(?:\.\d+)?)\S*")
_RUNTIMES = {
    "9": "2.7.3",
    "10": "2.8.4",
    "11": "2.9.3",
    "12": "2.10.5",
    "13": "2.11.2",
    "3.0": "3.0.6",
    "3.1": "3.1.8",
    "3.2": "3.2.2",
    "3.3": "3.3.2",
}
"""Astro Runtime → the newest patch of the release of Airflow that it is made of (Astro Runtime's release notes)."""
_PIP = re.compile(r"\bpip3? install\s+([^&|;]*)")
_APT = re.compile(r"\bapt(?:-get)? (?:-\S+ )*install\s+([^&|;]*)")
_REQUIREMENTS = re.compile(r".*requirements[^/]*(/[^/]+)?\.txt")
_NO_PACKAGES = ("pip", "setuptools", "wheel", ".")
_WITH_VALUE = {"-c", "--constraint", "-i", "--index-url", "--extra-index-url", "--find-links", "-f", "--trusted-host"}


@dataclass(frozen=True)
class _Instruction:
    word: str
    rest: str


def release_of_image(image: str) -> str | None:
    """Airflow's release by the name of an image: `apache/airflow:2.10.5-python3.11`, `astro-runtime:12.7.1`."""
    airflow = _AIRFLOW.fullmatch(image)
    if airflow is not None:
        return airflow.group(1)
    runtime = _RUNTIME.fullmatch(image)
    if runtime is None:
        return None
    tag = runtime.group(1)
    return _RUNTIMES.get(tag) or _RUNTIMES.get(tag.partition(".")[0])


def read(folder: Path, file: Path) -> Iterator[Found | NotTaken]:
    """What a Dockerfile shows, where its image has Airflow.

    Args:
        folder: of the project.
        file: the Dockerfile.
    """
    image = _Image(folder, file)
    for one in _instructions(read_text(file)):
        image.take(one)
    if image.release is not None:
        yield from image.shown(file.relative_to(folder).as_posix())


class _Image:
    """What the instructions make, one after the other.

    Attributes:
        release: Airflow's; None where the image has no Airflow.
    """

    def __init__(self, folder: Path, file: Path) -> None:
        self.release: str | None = None
        self._folder = folder
        self._file = file
        self._is_astro = False
        self._arguments: dict[str, str] = {}
        self._environment: dict[str, str | None] = {}
        self._mounts: list[Mount] = []
        self._pip: list[str] = []
        self._apt: list[str] = []

    def take(self, one: _Instruction) -> None:
        """Follows one instruction; others than these change nothing that DAGs see."""
        takes = {"ARG": self._arg, "FROM": self._from, "ENV": self._env, "COPY": self._copy, "ADD": self._copy}
        takes.get(one.word, self._run if one.word == "RUN" else _nothing)(one.rest)

    def shown(self, source: str) -> Iterator[Found | NotTaken]:
        """What it comes to; `source` is the file's name."""
        yield Found(("airflow", "version"), self.release, source)
        if self._is_astro:  # Astro Runtime has its AIRFLOW_HOME on the path
            yield Found(("sync", "python_path"), (".",), source)
        path = self._environment.pop("PYTHONPATH", None)
        yield from taken(self._environment, source, below_env_file=True)
        yield from folders_of(self._folder, self._mounts, source)
        if path:
            yield from python_path_of(self._folder, path, source)
        yield from self._requirements(source)
        if self._pip:
            yield packages_of(self._pip, source)
        if self._apt:
            hint = "write these packages into packages.txt"
            yield NotTaken(f"apt-get install {' '.join(self._apt)}", source, hint)

    def _arg(self, rest: str) -> None:
        name, _, default = rest.partition("=")
        self._arguments.setdefault(name.strip(), default.strip().strip("\"'"))

    def _from(self, rest: str) -> None:
        parts = (interpolated(rest, self._arguments) or "").split()
        image = next((part for part in parts if not part.startswith("--")), "")
        self.release = release_of_image(image) or self.release
        self._is_astro = self._is_astro or _RUNTIME.fullmatch(image) is not None

    def _env(self, rest: str) -> None:
        for name, text in _pairs(rest):
            value = interpolated(text, {**self._arguments, "AIRFLOW_HOME": "/opt/airflow"})
            self._environment[name] = value
            if value is not None:
                self._arguments[name] = value

    def _copy(self, rest: str) -> None:
        self._mounts += _copies(rest, self._folder, self._file)

    def _run(self, rest: str) -> None:
        self._pip += _packages(_PIP, rest)
        self._apt += _packages(_APT, rest)
        package = _PACKAGE.search(interpolated(rest, self._arguments) or rest)
        self.release = self.release or (package.group(1) if package else None)

    def _requirements(self, source: str) -> Iterator[Found]:
        """The requirements file that is copied into the image, where it does not lie where devenv looks first."""
        if (self._folder / "requirements.txt").is_file():
            return
        paths = [mount.path for mount in self._mounts if _REQUIREMENTS.fullmatch(mount.path.as_posix())]
        named = [path for path in paths if path.is_file() and path.resolve().is_relative_to(self._folder.resolve())]
        if len(named) == 1:
            yield Found(("requirements",), named[0].resolve().relative_to(self._folder.resolve()).as_posix(), source)


def _nothing(_rest: str) -> None:
    """Takes an instruction that does not matter."""


def _instructions(text: str) -> Iterator[_Instruction]:
    """Each instruction on one line, comments left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\[ \t]*\n", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if rest:
            yield _Instruction(word.upper(), rest.strip())


def _pairs(rest: str) -> Iterator[tuple[str, str]]:
    """`ENV A=1 B="two"`, and the old `ENV A 1`."""
    try:
        parts = shlex.split(rest)
    except ValueError:
        return
    if parts and "=" not in parts[0]:
        yield parts[0], " ".join(parts[1:])
        return
    for part in parts:
        name, equals, value = part.partition("=")
        if equals:
            yield name, value


def _copies(rest: str, folder: Path, file: Path) -> Iterator[Mount]:
    """What is copied from the build's context, which is the folder of the Dockerfile or the project's."""
    parts = re.sub(r'["\[\],]', " ", rest).split()  # also the form of a list
    if any(part.startswith("--from") for part in parts):
        return
    parts = [part for part in parts if not part.startswith("--")]
    for name in parts[:-1]:
        context = folder if (folder / name).exists() else file.parent
        to = parts[-1]
        if len(parts) > 2 or (to.endswith("/") and not (context / name).is_dir()):
            to = f"{to.rstrip('/')}/{Path(name).name}"
        yield Mount(context / name, to)


def _packages(pattern: re.Pattern[str], text: str) -> list[str]:
    found: list[str] = []
    for match in pattern.finditer(text):
        parts = iter(match.group(1).split())
        for part in parts:
            if part in ("-r", "--requirement") or part in _WITH_VALUE:
                next(parts, "")
            elif (
                not part.startswith(("-", "$"))
                and "apache-airflow==" not in part
                and part not in _NO_PACKAGES
                and not part.endswith(".whl")
            ):
                found.append(part.strip("\"'"))
    return found
