"""Amazon MWAA: `startup.sh`, `plugins.zip`, and a checkout of aws-mwaa-local-runner."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from devenv.origins.found import Found, NotTaken
from devenv.origins.text import read_text
from devenv.origins.variables import taken

STARTUP_SCRIPTS = ("startup.sh", "startup_script/startup.sh")
"""At the root of the bucket, and where aws-mwaa-local-runner has it."""
PLUGINS = "plugins.zip"
RUNNER = "mwaa-local-env"
_EXPORT = re.compile(r"^\s*export\s+(\w+)=(.*)$", re.MULTILINE)
_PLAIN = re.compile(r"^\s*(#.*|export\s+\w+=.*|set\s.*|echo\s.*|)$")


def read_startup(folder: Path, file: Path) -> Iterator[Found | NotTaken]:
    """The variables that the script exports with a plain value.

    https://docs.aws.amazon.com/mwaa/latest/userguide/using-startup-script.html
    """
    source = file.relative_to(folder).as_posix()
    text = read_text(file)
    yield from taken({name: _value(value) for name, value in _EXPORT.findall(text)}, source, below_env_file=True)
    others = [line.strip() for line in text.splitlines() if not _PLAIN.fullmatch(line)]
    if others:
        more = f" and {len(others) - 1} more lines" if len(others) > 1 else ""
        yield NotTaken(
            f"`{others[0][:60]}`{more}",
            source,
            "Python packages belong in requirements.txt, system packages in packages.txt",
        )


def read_runner(folder: Path, file: Path) -> Iterator[Found]:
    """A checkout of aws-mwaa-local-runner: Airflow's release in VERSION, and where it has packages and variables.

    https://github.com/aws/aws-mwaa-local-runner

    Args:
        folder: of the project.
        file: `mwaa-local-env`, its command.
    """
    release = read_text(file.with_name("VERSION")).strip()
    if re.fullmatch(r"\d+\.\d+\.\d+", release):
        yield Found(("airflow", "version"), release, "VERSION")
    for setting, name in (
        ("requirements", "requirements/requirements.txt"),
        ("env_file", "docker/config/.env.localrunner"),
    ):
        beside = file.parent / name
        if beside.is_file():
            path = beside.relative_to(folder).as_posix()
            yield Found((setting,), path, RUNNER)


def read_plugins(folder: Path, file: Path) -> Iterator[NotTaken]:
    """`plugins.zip`, which MWAA unpacks, where it was not unpacked here."""
    if not (file.parent / "plugins").is_dir():
        source = file.relative_to(folder).as_posix()
        yield NotTaken("its modules", source, f"unzip {source} -d {(file.parent / 'plugins').relative_to(folder)}")


def _value(text: str) -> str | None:
    """What the shell would make of it; None where that depends on more than this line."""
    if re.search(r"[$`]", text):
        return None
    try:
        parts = shlex.split(text, comments=True)
    except ValueError:
        return None
    return parts[0] if len(parts) == 1 else ("" if not parts else None)
