"""`devenv env`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.context import backend_from, console, project_from, reporter_from, session
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
    console().print(*export_lines(values))
    if "AIRFLOW_HOME" not in values:
        console().print(f'airflow() {{ devenv airflow "$@"; }}  # in {shlex.quote(str(project.folder))}')
    if not reveal and session().environment.stdout.isatty():
        reporter_from()(Notice("info", "without passwords and tokens", hint="devenv env --reveal"))


def variables(backend: Backend, *, reveal: bool) -> dict[str, str]:
    """The variables by name; those that are secret only with `reveal`."""
    urls = backend.status().urls
    values = dict(backend.exports())
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


def export_lines(values: Mapping[str, str]) -> list[str]:
    """Lines for a POSIX shell; a value that extends one of the shell's own (`PATH`) stays so."""
    return [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
