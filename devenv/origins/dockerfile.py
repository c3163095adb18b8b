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
    source = file.relative_to(folder).as_posix()
    instructions = list(_instructions(read_text(file)))
    values: dict[str, str] = {}
    environment: dict[str, str | None] = {}
    mounts: list[Mount] = []
    release = None
    pip: list[str] = []
    apt: list[str] = []
    for one in instructions:
        if one.word == "ARG":
            name, _, default = one.rest.partition("=")
            values.setdefault(name.strip(), default.strip().strip("\"'"))
        elif one.word == "FROM":
            parts = (interpolated(one.rest, values) or "").split()
            release = release_of_image(next((part for part in parts if not part.startswith("--")), "")) or release
        elif one.word == "ENV":
            for name, text in _pairs(one.rest):
                value = interpolated(text, {**values, "AIRFLOW_HOME": "/opt/airflow"})
                environment[name] = value
                if value is not None:
                    values[name] = value
        elif one.word in ("COPY", "ADD"):
            mounts += _copies(one.rest, folder, file)
        elif one.word == "RUN":
            pip += _packages(_PIP, one.rest)
            apt += _packages(_APT, one.rest)
            package = _PACKAGE.search(interpolated(one.rest, values) or one.rest)
            release = release or (package.group(1) if package else None)
    if release is None:
        return
    yield Found(("airflow", "version"), release, source)
    path = environment.pop("PYTHONPATH", None)
    yield from taken(environment, source, below_env_file=True)
    yield from folders_of(folder, mounts, source)
    if path:
        yield from python_path_of(folder, path, source)
    yield from _requirements(folder, file, instructions, source)
    if pip:
        yield packages_of(pip, source)
    if apt:
        yield NotTaken(f"apt-get install {' '.join(apt)}", source, "write these packages into packages.txt")


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
            elif not part.startswith(("-", "$")) and "apache-airflow==" not in part and part not in ("pip", "."):
                found.append(part.strip("\"'"))
    return found


def _requirements(folder: Path, file: Path, instructions: list[_Instruction], source: str) -> Iterator[Found]:
    """The requirements file that is copied into the image, where it does not lie where devenv looks first."""
    if (folder / "requirements.txt").is_file():
        return
    named = [
        mount.path
        for one in instructions
        if one.word in ("COPY", "ADD")
        for mount in _copies(one.rest, folder, file)
        if re.fullmatch(r".*requirements.*\.txt", mount.path.name) and mount.path.is_file()
    ]
    if len(named) == 1 and named[0].resolve().is_relative_to(folder.resolve()):
        yield Found(("requirements",), named[0].resolve().relative_to(folder.resolve()).as_posix(), source)
