"""`devenv env`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.context import backend_from, console, project_from, reporter_from, session
from devenv.cli.open import pages
from devenv.events import Notice

if TYPE_CHECKING:
    from devenv.backends.base import Backend


def command(
    *,
    reveal: Annotated[bool, typer.Option("--reveal", help="Also passwords and tokens.")] = False,
) -> None:
    """Prints what makes airflow, vault and kubectl in this shell talk to this environment.

    `airflow` becomes a function that calls `devenv airflow`, unless the backend brings Airflow to this machine.

    Examples:
      eval "$(devenv env --reveal)"
      devenv env
    """
    project = project_from()
    backend = backend_from(project)
    values = variables(backend, reveal=reveal)
    console().record("environment", {"variables": values})
    console().print(*export_lines(values, session().environment.variables.get("PATH", "")))
    if "AIRFLOW_HOME" not in values:
        console().print(f'airflow() {{ devenv airflow "$@"; }}  # in {shlex.quote(str(project.folder))}')
    if not reveal and session().environment.stdout.isatty():
        reporter_from()(Notice("info", "without passwords and tokens", hint="devenv env --reveal"))


def variables(backend: Backend, *, reveal: bool) -> dict[str, str]:
    """The variables by name; those that are secret only with `reveal`."""
    urls = pages(backend.status().urls)
    values = {name: value for name, value in backend.exports().items() if value}
    if "airflow" in urls:
        who = backend.credentials()
        values["DEVENV_AIRFLOW_URL"] = urls["airflow"]
        values["DEVENV_AIRFLOW_USER"] = who.user
        if reveal:
            values["DEVENV_AIRFLOW_PASSWORD"] = who.password
    if "vault" in urls:
        values["VAULT_ADDR"] = urls["vault"]
        if reveal:
            values["VAULT_TOKEN"] = str(backend.vault().token)
    return values


def export_lines(values: Mapping[str, str], path: str) -> list[str]:
    """Lines for a POSIX shell; what stands before this shell's own PATH is put before that of the reader's."""
    lines = []
    for name, value in values.items():
        if name == "PATH" and path and value.endswith(f":{path}"):
            lines.append(f'export PATH={shlex.quote(value.removesuffix(path)[:-1])}:"$PATH"')
        else:
            lines.append(f"export {name}={shlex.quote(value)}")
    return lines
