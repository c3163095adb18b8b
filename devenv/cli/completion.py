"""`devenv completion`, and what completes the names of DAGs and tasks."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from devenv.cli.context import console


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
