"""`devenv completion`, and what completes the names of DAGs and tasks."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from devenv.cli.context import console, project_from
from devenv.components import BASE, BY_NAME, PAGE_NAMES
from devenv.errors import DevenvError


class Shell(str, Enum):
    """What `devenv completion` takes."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def command(shell: Annotated[Shell, typer.Argument(help="The shell that you use.")]) -> None:
    """Prints what makes a shell complete commands, flags, DAG and task ids.

    Examples:
      devenv completion bash >> ~/.bashrc
      devenv completion zsh > ~/.zfunc/_devenv      with fpath+=~/.zfunc before compinit
      devenv completion fish > ~/.config/fish/completions/devenv.fish
    """
    from typer import completion

    script = completion.get_completion_script(  # type: ignore[attr-defined]
        prog_name="devenv", complete_var="_DEVENV_COMPLETE", shell=shell.value
    )
    console().print(script)


def complete_dag(incomplete: str) -> list[str]:
    """DAG ids that begin so, as the DAG files spell them."""
    return [name for name in _known() if name.startswith(incomplete)]


def complete_task(ctx: typer.Context, incomplete: str) -> list[str]:
    """Task ids that begin so, of the DAG that was named before."""
    return [name for name in _known().get(ctx.params.get("dag") or "", ()) if name.startswith(incomplete)]


def complete_logs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Components and DAGs; after a DAG, its tasks."""
    words = ctx.params.get("names") or ()
    dags = _known()
    found = dags.get(words[0], ()) if words and words[0] in dags else (*_workloads(), *dags)
    return [name for name in found if name.startswith(incomplete)]


def complete_component(incomplete: str) -> list[str]:
    """Components that begin so."""
    return [name for name in _workloads() if name.startswith(incomplete)]


def complete_page(incomplete: str) -> list[str]:
    """Pages of `devenv open` that begin so."""
    return [name for name in PAGE_NAMES if name.startswith(incomplete)]


def _workloads() -> tuple[str, ...]:
    """Those of the base, and of the components that the project switches on."""
    try:
        parts = project_from().settings.parts
    except DevenvError:
        parts = ()
    return tuple(workload for each in (BASE, *(BY_NAME[part] for part in parts)) for workload in each.workloads)


def _known() -> dict[str, tuple[str, ...]]:
    from devenv.dag_names import dag_names

    try:
        return dag_names(project_from().dag_folder)
    except DevenvError:
        return {}  # a shell that completes has no place for an error
