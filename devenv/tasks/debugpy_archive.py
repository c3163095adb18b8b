"""debugpy's Python modules as one zip: the same for every Python and every machine, fetched once."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from devenv import process
from devenv.errors import CommandFailed, TimedOut
from devenv.files import exclusive
from devenv.published import uv, uv_variables
from devenv.tasks.errors import DebuggerMissing

if TYPE_CHECKING:
    from devenv.environment import Environment

_REQUIREMENT = "debugpy>=1.8,<1.9"
_PYTHON = "3.8"
"""The oldest Python of an image; a release for it runs on all later ones."""
_NAME = "debugpy-1.8.zip"
_SECONDS = 120.0


def debugpy_archive(environment: Environment) -> bytes:
    """The zip, from the cache folder, or from the package index that uv asks.

    Only modules in Python are in it: compiled ones would make stepping faster, and fit one Python on one platform.

    Raises:
        DebuggerMissing: it is not in the cache, and the index cannot be asked.
    """
    kept = environment.cache_folder / _NAME
    environment.cache_folder.mkdir(parents=True, exist_ok=True)
    with exclusive(kept.with_suffix(".lock")):
        if not kept.is_file():
            content = _fetch(environment)
            temporary = kept.with_suffix(".tmp")
            temporary.write_bytes(content)
            temporary.replace(kept)
    return kept.read_bytes()


def _fetch(environment: Environment) -> bytes:
    with tempfile.TemporaryDirectory(prefix="devenv-debugpy-") as folder:
        command = [uv(), "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target", folder]
        command += ["--python-version", _PYTHON, "--python-platform", "linux", _REQUIREMENT]
        try:
            process.run(command, timeout=_SECONDS, variables=uv_variables(environment))
        except (CommandFailed, TimedOut) as error:
            raise DebuggerMissing(
                f"debugpy cannot be fetched: {error.message}",
                hint="with a network, or with UV_INDEX_URL for a mirror, run it again",
                detail=error.detail,
            ) from error
        return _packed(Path(folder))


def _packed(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for module in sorted(folder.joinpath("debugpy").rglob("*.py")):
            entry = zipfile.ZipInfo(module.relative_to(folder).as_posix())
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, module.read_bytes())
    return packed.getvalue()
