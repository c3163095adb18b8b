"""`devenv config`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from devenv.cli.context import console, project_from

if TYPE_CHECKING:
    from devenv.project import Project


def command(
    *,
    given: Annotated[bool, typer.Option("--given", help="Only what is not a default.")] = False,
    packages: Annotated[
        bool, typer.Option("--packages", help="What is installed beside Airflow on the local backend, instead.")
    ] = False,
    origins: Annotated[
        bool,
        typer.Option("--origins", help="What the repository's own files say, instead."),
    ] = False,
) -> None:
    """Shows the settings that rule, and where each came from.

    Flags go over DEVENV_SECTION__KEY variables, those over devenv.toml, that over defaults.

    Examples:
      devenv config
      devenv config --given
      DEVENV_PORTS__AIRFLOW=9000 devenv config --given
      devenv config -o json
      devenv config --packages
      devenv config --origins
    """
    if origins:
        _show_origins(project_from())
        return
    if packages:
        _show_packages(project_from())
        return
    from devenv.settings.load import read
    from devenv.settings.remembered import remembered

    project = project_from()
    effective = read(project.folder, project.environment, {}, remembered(project.data_folder))
    found: dict[tuple[str, ...], str] = {one.path: one.source for one in project.found}
    out = console()
    rows = []
    for path, value in _values(project.settings.model_dump()):
        origin = found.get(path) or effective.origin(path)
        if given and origin == "default":
            continue
        out.record("setting", {"name": ".".join(path), "value": value, "origin": origin})
        rows.append((".".join(path), _toml(value), Text(origin, "dim" if origin == "default" else "cyan")))
    out.table(("setting", "value", "from"), rows)


def _show_origins(project: Project) -> None:
    from devenv.cli.origins import print_not_taken, taken

    out = console()
    for one in project.found:
        out.record("origin.taken", {"name": ".".join(one.path), "value": one.value, "source": one.source})
    out.print(*taken(project.found))
    print_not_taken(project.not_taken)
    if not (project.found or project.not_taken):
        out.print("nothing: the repository is laid out as devenv expects, or devenv.toml says it all")


def _show_packages(project: Project) -> None:
    """The record that the local backend, or `devenv check`, wrote when it installed the project's release.

    Raises:
        NotInstalled: it did not yet.
    """
    from devenv.local import installed
    from devenv.local.errors import NotInstalled
    from devenv.local.virtualenv import Installer

    release = project.settings.airflow.version
    folder = Installer(project.environment).airflow_folder(release, project.requirements)
    record = installed.read(folder) if folder else None
    if folder is None or record is None:
        raise NotInstalled(
            f"Airflow {release} is not installed for the local backend yet, with this requirements.txt",
            hint="devenv up --backend local, or devenv check",
        )
    out = console()
    out.record(
        "packages",
        {
            "release": release,
            "folder": str(folder),
            "limits": record.limits,
            "requirements": record.requirements,
            "packages": record.packages,
        },
    )
    out.print(f"Airflow {release} in {folder}", f"packages allowed: {record.limits}")
    if record.requirements:
        out.print(f"for requirements.txt: {record.requirements}")
    out.table(("package", "version"), sorted(record.packages.items()))


def _values(table: dict[str, Any], above: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found: list[tuple[tuple[str, ...], Any]] = []
    for key, value in table.items():
        path = (*above, key)
        if isinstance(value, dict) and value:
            found += _values(value, path)
        else:
            found.append((path, value))
    return found


def _toml(value: Any) -> str:
    """The value as `devenv.toml` would have it; nothing where nothing is set."""
    return "" if value is None or value == {} else json.dumps(value, ensure_ascii=False)
