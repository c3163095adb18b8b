"""Packages that are sent to where tasks run: their Python modules as a zip, fetched once and kept.

Only modules in Python are in them: they are the same for every Python from 3.8 on, and for every machine.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from devenv import process
from devenv.errors import CommandFailed, TimedOut
from devenv.files import exclusive
from devenv.published import uv, uv_variables
from devenv.tasks.errors import PackageMissing

if TYPE_CHECKING:
    from devenv.environment import Environment

_PYTHON = "3.8"
"""The oldest Python of an image; a release for it runs on all later ones."""
_SECONDS = 120.0


class Package(NamedTuple):
    """What is sent.

    Attributes:
        name: by which the other side knows it.
        requirements: what uv installs, without their dependencies.
        modules: folders and files of it that are needed.
    """

    name: str
    requirements: tuple[str, ...]
    modules: tuple[str, ...]


DEBUGPY = Package("debugpy", ("debugpy>=1.8,<1.9",), ("debugpy",))
PYTEST = Package(
    "pytest",
    ("pytest>=8.3,<8.4", "pluggy>=1.5,<2", "iniconfig>=2,<3", "exceptiongroup>=1.2,<2", "tomli>=2,<3"),
    ("pytest", "_pytest", "py.py", "pluggy", "iniconfig", "exceptiongroup", "tomli"),
)
"""`packaging` and `typing_extensions`, which it needs too, are Airflow's own."""


def archive(package: Package, environment: Environment) -> bytes:
    """The zip, from the cache folder, or from the package index that uv asks.

    Raises:
        PackageMissing: it is not in the cache, and the index cannot be asked.
    """
    recipe = hashlib.sha256(repr(package).encode()).hexdigest()[:8]
    kept = environment.cache_folder / f"{package.name}-{recipe}.zip"
    environment.cache_folder.mkdir(parents=True, exist_ok=True)
    with exclusive(kept.with_suffix(".lock")):
        if not kept.is_file():
            content = _fetch(package, environment)
            temporary = kept.with_suffix(".tmp")
            temporary.write_bytes(content)
            temporary.replace(kept)
    return kept.read_bytes()


def _fetch(package: Package, environment: Environment) -> bytes:
    with tempfile.TemporaryDirectory(prefix="devenv-package-") as folder:
        command = [uv(), "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", folder]
        command += ["--python-version", _PYTHON, "--python-platform", "linux", *package.requirements]
        try:
            process.run(command, timeout=_SECONDS, variables=uv_variables(environment))
        except (CommandFailed, TimedOut) as error:
            raise PackageMissing(
                f"{package.name} cannot be fetched: {error.message}",
                hint="with a network, or with UV_INDEX_URL for a mirror, run it again",
                detail=error.detail,
            ) from error
        return _packed(Path(folder), package.modules)


def _packed(folder: Path, modules: tuple[str, ...]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as written:
        for name in modules:
            place = folder / name
            for module in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                entry = zipfile.ZipInfo(module.relative_to(folder).as_posix())
                entry.compress_type = zipfile.ZIP_DEFLATED
                written.writestr(entry, module.read_bytes())
    return packed.getvalue()
