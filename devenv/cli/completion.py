"""`devenv completion`, and what completes words: names from DAG files are data for the shell, never code.

typer's own script for zsh has the shell evaluate what the program prints, so a DAG id such as `$(…)` in a cloned
repository would run. The scripts here take lines, and hand each to the shell as one quoted word.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Annotated

import typer

from devenv.cli.context import console, project_from
from devenv.components import BASE, BY_NAME, PAGE_NAMES
from devenv.errors import DevenvError

VARIABLE = "_DEVENV_COMPLETE"
"""Set to "lines", it has `devenv WORD…` print what may stand for the last word, a line each: value, tab, help."""
SECONDS = 1.0
"""A Tab that takes longer gets nothing: a folder of DAG files is foreign, and may hold anything."""
_READING_SECONDS = 0.1
"""How long DAG files are read for their names; what was found until then is offered."""
_OFFERED = 500
_LONGEST = 250
_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]+")


class Shell(str, Enum):
    """What `devenv completion` takes."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


SCRIPTS = {
    Shell.bash: """\
_devenv_completion() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    COMPREPLY+=("$(printf %q "${line%%$'\\t'*}")")
  done < <(_DEVENV_COMPLETE=lines devenv "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _devenv_completion devenv
""",
    Shell.zsh: """\
#compdef devenv
_devenv_completion() {
  local line
  local -a values shown
  for line in "${(@f)$(_DEVENV_COMPLETE=lines devenv "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -n $line ]] || continue
    values+=("${line%%$'\\t'*}")
    shown+=("${line/$'\\t'/  -- }")
  done
  if (( $#values )); then
    compadd -l -d shown -a values
  else
    _files
  fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _devenv_completion "$@"
else
  compdef _devenv_completion devenv
fi
""",
    Shell.fish: """\
function _devenv_completion
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  test -n "$current"; or set current ""
  env _DEVENV_COMPLETE=lines devenv $words[2..-1] $current 2>/dev/null
end
complete --no-files --command devenv --arguments '(_devenv_completion)'
""",
}


def command(shell: Annotated[Shell, typer.Argument(help="The shell that you use.")]) -> None:
    """Prints what makes a shell complete commands, flags, DAG and task ids.

    Examples:
      devenv completion bash >> ~/.bashrc
      devenv completion zsh > ~/.zfunc/_devenv      with fpath+=~/.zfunc before compinit
      devenv completion fish > ~/.config/fish/completions/devenv.fish
    """
    console().print(SCRIPTS[shell].rstrip("\n"))


def complete(words: Sequence[str]) -> Iterator[str]:
    """The lines that `VARIABLE` asks for.

    Args:
        words: of the command line, without the program; the last is to be completed and may be empty.
    """
    from devenv.cli.app import complete_words

    found = complete_words(list(words[:-1]), words[-1] if words else "")
    for value, text in list(found)[:_OFFERED]:
        if len(value) <= _LONGEST and _PLAIN.fullmatch(value):
            summary = " ".join("".join(_PLAIN.findall(text.replace("\n", " "))).split())
            yield f"{value}\t{summary}" if summary else value


def die_after(seconds: float) -> None:
    """Ends this process, without a word, when the time is up."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, lambda _number, _frame: os._exit(0))
        signal.setitimer(signal.ITIMER_REAL, seconds)


def complete_dag(incomplete: str) -> list[str]:
    """DAG ids that begin so, as the DAG files spell them."""
    return _beginning(incomplete, _known())


def complete_task(ctx: typer.Context, incomplete: str) -> list[str]:
    """Task ids that begin so, of the DAG that was named before."""
    return _beginning(incomplete, _known().get(ctx.params.get("dag") or "", ()))


def complete_logs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Components and DAGs; after a DAG, its tasks."""
    words = ctx.params.get("names") or ()
    dags = _known()
    return _beginning(incomplete, dags.get(words[0], ()) if words and words[0] in dags else (*_workloads(), *dags))


def complete_component(incomplete: str) -> list[str]:
    """Components that begin so."""
    return _beginning(incomplete, _workloads())


def complete_page(incomplete: str) -> list[str]:
    """Pages of `devenv open` that begin so."""
    return _beginning(incomplete, PAGE_NAMES)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


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
        return dag_names(project_from().dag_folder, until=time.monotonic() + _READING_SECONDS)
    except DevenvError:
        return {}  # a shell that completes has no place for an error
