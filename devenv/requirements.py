"""What `requirements.txt` refers to in the project: further files (`-r`, `-c`) and packages in folders (`-e .`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from devenv.errors import UsageError
from devenv.files import read_regular

NAME = "requirements.txt"
_LIMIT = 1_048_576
_FILES_LIMIT = 5_000
_OPTION = re.compile(r"(-r|-c|-e|--requirement|--constraint|--editable)[=\s]*(.+)")
_NAMED = re.compile(r"^[ \t]*(?P<option>-r|-c|--requirement|--constraint)[=\s]\s*(?P<path>\S+)", re.MULTILINE)
_AIRFLOWS = re.compile(
    r"""^[ \t]*(-c|--constraint)[=\s]\s*["']?https?://\S+/constraints-[\w.]+/constraints-[\w.-]+\.txt["']?""",
    re.MULTILINE,
)
_REQUIRE = re.compile(r"^[ \t]*--require-hashes\b", re.MULTILINE)
_HASHED = re.compile(r"^[ \t]*--require-hashes\b|^[^#\n]*\s--hash[=\s]", re.MULTILINE)
_DESCRIBES = ("pyproject.toml", "setup.py", "setup.cfg")
_LEFT_OUT = {"__pycache__", ".git", ".venv", "venv", "build", "dist", ".devenv", "node_modules"}


class RequirementOutside(UsageError):
    """`requirements.txt` names a file or folder that is not in the project, or not there.

    An image can only be built from what lies in the project's folder. Move it there, or publish the package and
    name it with a version.
    """

    code = "DEVENV-543"


@dataclass(frozen=True)
class References:
    """Files and folders that a requirements file needs.

    Attributes:
        files: requirement and constraint files, the first being the one that was asked about.
        packages: folders with a package of the project, or archives and wheels.
        editable: those of the packages that are installed as links (`-e`).
    """

    files: tuple[Path, ...] = ()
    packages: tuple[Path, ...] = ()
    editable: frozenset[Path] = field(default_factory=frozenset)

    def digest(self) -> str:
        """Changes with whatever an installation would have to be made again for."""
        found = hashlib.sha256()
        for path in self.files[1:]:
            found.update(_content(path))
        for package in self.packages:
            for path in _described(package) if package in self.editable else sorted(sources(package)):
                found.update(str(path).encode() + b"\0" + _content(path))
        return found.hexdigest()


def references(requirements: Path) -> References:
    """What a requirements file needs beside itself; empty when it does not exist.

    Raises:
        RequirementOutside: something that it names is not there.
    """
    if not requirements.is_file():
        return References()
    root = requirements.parent
    files: list[Path] = []
    packages: list[Path] = []
    editable: set[Path] = set()
    waiting = [requirements]
    while waiting:
        path = waiting.pop(0)
        if path in files:
            continue
        files.append(path)
        for option, value in _lines(path):
            if option in ("-r", "-c", "--requirement", "--constraint"):
                if "://" not in value:
                    waiting.append(_there(path.parent / value, value, path))
            elif _is_local(value):
                package = _there(root / _without_extras(value), value, path)
                packages.append(package)
                if option in ("-e", "--editable"):
                    editable.add(package)
    return References(tuple(files), tuple(packages), frozenset(editable))


def is_hashed(requirements: Path) -> bool:
    """Whether pip installs nothing beside this file's packages: it wants a hash of each then."""
    return _HASHED.search(_content(requirements).decode("utf-8", "replace")) is not None


def names_git(found: References) -> bool:
    """Whether a package is fetched with git."""
    return any(re.search(rb"^[^#\n]*\bgit\+", _content(path), re.MULTILINE) for path in found.files)


def for_uv(requirements: Path, copy: Path) -> Path:
    """The file, or a copy of it without lines that stand in the way when it is installed beside Airflow.

    One is that of Airflow's own constraints, which MWAA asks for. Who installs here has the release's limits anyway:
    for the Python that it runs on, and also where that address cannot be reached. The other is `--require-hashes`: uv
    checks the hashes that there are in any case, and Airflow's own packages come without.

    Args:
        requirements: the project's file.
        copy: where a copy is written; paths to further files are whole in it.
    """
    text = _content(requirements).decode("utf-8", "replace")
    if not _AIRFLOWS.search(text) and not _REQUIRE.search(text):
        return requirements

    def whole(match: re.Match[str]) -> str:
        path = match["path"].strip("'\"")
        return match[0] if "://" in path else f"{match['option']} {requirements.parent.resolve() / path}"

    copy.write_text(_NAMED.sub(whole, _REQUIRE.sub("", _AIRFLOWS.sub("", text))), encoding="utf-8")
    return copy


def sources(package: Path) -> Iterator[Path]:
    """The files of a package in a folder, without what building it leaves behind; an archive is itself."""
    if package.is_file():
        yield package
        return
    count = 0
    for path in package.rglob("*"):
        if path.is_file() and not _LEFT_OUT & set(path.relative_to(package).parts) and ".egg-info" not in str(path):
            count += 1
            if count > _FILES_LIMIT:
                return
            yield path


def require_inside(found: References, folder: Path) -> None:
    """Checks that everything lies in the project, as an image needs it.

    Raises:
        RequirementOutside: something does not.
    """
    for path in (*found.files, *found.packages):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise RequirementOutside(
                f"{NAME} needs {path}, which does not lie in the project, so the image cannot have it",
                hint=f"move it below {folder}, or name a published version of it",
            )


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Option ("" for a plain requirement) and value of each line."""
    text = _content(path).decode("utf-8", "replace").replace("\\\n", " ")
    for raw in text.splitlines():
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        found = _OPTION.match(line)
        if found is not None:
            yield found.group(1), found.group(2).strip().strip("'\"")
        elif line and not line.startswith("-"):
            yield "", line.partition(";")[0].strip()


def _is_local(value: str) -> bool:
    if "://" in value and not value.startswith("file:"):
        return False
    return value.startswith((".", "/", "file:")) or value.endswith((".whl", ".tar.gz", ".zip"))


def _without_extras(value: str) -> str:
    return re.sub(r"\[[^\]]*\]$", "", value.removeprefix("file://").removeprefix("file:"))


def _there(path: Path, value: str, named_in: Path) -> Path:
    if not path.exists():
        raise RequirementOutside(
            f"{named_in.name} names {value}, which does not exist", hint=f"correct {named_in.name}"
        )
    return path


def _described(package: Path) -> list[Path]:
    return [package / name for name in _DESCRIBES if (package / name).is_file()] if package.is_dir() else [package]


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, _LIMIT) or str(path.stat().st_size).encode()
    except OSError:
        return b""
