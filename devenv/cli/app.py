"""The command tree: each command's module is imported when it is needed, and has the global flags besides its own."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from devenv.cli.commands import COMMANDS, REMOVING, SYNONYMS, overview
from devenv.cli.context import amend, session
from devenv.errors import UsageError

_HELP_FLAGS = ["-h", "--help"]


class NoCommand(UsageError):
    """There is no such command. `devenv --help` lists those that there are."""

    code = "DEVENV-103"


class OutputFormat(str, Enum):
    """What `-o` takes."""

    text = "text"
    json = "json"


class Commands(TyperGroup):
    """All commands by name, from the table, each loaded when it is asked for."""

    def list_commands(self, _ctx: Any) -> list[str]:
        """Names, in the order of the overview."""
        return list(COMMANDS)

    def get_command(self, _ctx: Any, cmd_name: str) -> Any:
        """Imports the command's module."""
        return load_command(cmd_name) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer's, with the nearest names for a typo."""
        if args[0] == "help":
            args = [*args[1:2], "--help"]
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise _unknown(args[0])
        return super().resolve_command(ctx, args)

    def format_help(self, _ctx: Any, formatter: Any) -> None:
        """The overview."""
        formatter.write(overview())

    def get_help_option(self, ctx: Any) -> Any:
        """As typer's, see `_convert_what_is_given`."""
        return _convert_what_is_given(super().get_help_option(ctx))

    def shell_complete(self, _ctx: Any, incomplete: str) -> Any:
        """Names and summaries, without importing any command."""
        from typer import core

        return [
            core.CompletionItem(name, help=command.summary)  # type: ignore[attr-defined]
            for name, command in COMMANDS.items()
            if name.startswith(incomplete)
        ]


def _unknown(name: str) -> NoCommand:
    """What a word that is no command most likely means; never a command that deletes."""
    said = f"there is no command {name!r}"
    word = name.lower()
    if word in REMOVING:
        return NoCommand(
            f"{said}; `devenv down` stops the environment and keeps its data, `devenv destroy` removes all of it",
            hint="devenv down",
        )
    if word in SYNONYMS:
        return NoCommand(f"{said}; did you mean {SYNONYMS[word]}?", hint=f"devenv {SYNONYMS[word]}")
    near = difflib.get_close_matches(word, COMMANDS, 1, 0.6)
    if not near:
        return NoCommand(said, hint="devenv --help")
    return NoCommand(f"{said}; did you mean {near[0]}?", hint=f"devenv {near[0]} --help")


@cache
def root() -> Commands:
    """The command `devenv` itself."""
    return Commands(
        name="devenv",
        params=_global_flags(),
        rich_markup_mode=None,
        context_settings={"help_option_names": _HELP_FLAGS},
    )


def complete_words(words: list[str], incomplete: str) -> list[tuple[str, str]]:
    """What may stand for `incomplete` after these words: values, each with its help."""
    from typer._completion_classes import BashComplete

    found = BashComplete(root(), {}, "devenv", "").get_completions(words, incomplete)
    return [(item.value, item.help or "") for item in found if item.type == "plain"]


def load_command(name: str) -> Any:
    """The command of a module, with the global flags that it does not have itself."""
    module = importlib.import_module(COMMANDS[name].module)
    if hasattr(module, "app"):
        found = get_command(module.app)
    else:
        single = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name, context_settings=getattr(module, "CONTEXT", None))(module.command)
        found = get_command(single)
    found.name = name
    _join_global_flags(found)
    return found


def _join_global_flags(command: Any) -> None:
    command.rich_markup_mode = None
    command.help = _keep_examples(command.help or "")
    command.params = [param for param in command.params if param.name not in ("install_completion", "show_completion")]
    if isinstance(command, TyperGroup):
        for below in command.commands.values():
            _join_global_flags(below)
        return
    own_help = command.get_help_option
    command.get_help_option = lambda ctx: _convert_what_is_given(own_help(ctx))
    for param in command.params:
        _convert_what_is_given(param)
    if not command.context_settings.get("ignore_unknown_options"):  # else every flag is for a program inside
        taken = {flag for param in command.params for flag in param.opts}
        command.params = [*command.params, *(flag for flag in _global_flags() if not taken.intersection(flag.opts))]


def _convert_what_is_given(param: Any) -> Any:
    """Spares some 10 ms for each parameter that is not given: typer (0.29) makes a pydantic model to convert None."""
    if param is None or hasattr(param, "convert"):
        return param
    param.convert = param.process_value
    may_be_left_out = not param.required and not param.multiple and param.nargs == 1

    def process(ctx: Any, value: Any) -> Any:
        nothing = value is None or (value == 0 and getattr(param, "count", False))
        if not (nothing and may_be_left_out):
            return param.convert(ctx, value)
        return param.callback(ctx, param, value) if param.callback is not None else value

    param.process_value = process
    return param


def _keep_examples(text: str) -> str:
    """Marks paragraphs with indented lines as not to be wrapped anew, by a backspace, as typer wants it."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(f"\b\n{part}" if "\n " in f"\n{part}" else part for part in paragraphs)


def _note_project(value: Path | None) -> Path | None:
    if value is not None:
        amend(folder=value)
    return value


def _note_output(value: OutputFormat | None) -> OutputFormat | None:
    if value is not None:
        amend(output=value.value)
    return value


def _note_quiet(value: int) -> int:
    if value:
        amend(quiet=session().quiet + value)
    return value


def _note_verbose(value: int) -> int:
    if value:
        amend(verbose=session().verbose + value)
    return value


def _note_no_color(value: bool) -> bool:  # noqa: FBT001 (typer's callback)
    if value:
        amend(color=False)
    return value


@cache
def _flag_source() -> TyperCommand:
    source = typer.Typer(add_completion=False, rich_markup_mode=None)
    source.command()(_flags)
    found = get_command(source)
    for param in found.params:
        _convert_what_is_given(param)
    return found  # type: ignore[return-value]


def _global_flags() -> Sequence[Any]:
    """The parameters of `_flags`, in the form in which a command holds its own."""
    return list(_flag_source().params)


def _flags(
    _project: Annotated[
        Path | None,
        typer.Option(
            "--project",
            metavar="FOLDER",
            callback=_note_project,
            expose_value=False,
            help="The project; without it, the nearest one above the working folder.",
        ),
    ] = None,
    _output: Annotated[
        OutputFormat | None,
        typer.Option(
            "--output",
            "-o",
            callback=_note_output,
            expose_value=False,
            help="text, or json: one object per line on standard output.",
        ),
    ] = None,
    _quiet: Annotated[
        int,
        typer.Option(
            "--quiet",
            "-q",
            count=True,
            show_default=False,
            callback=_note_quiet,
            expose_value=False,
            help="Only what is important; -qq only errors.",
        ),
    ] = 0,
    _verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            callback=_note_verbose,
            expose_value=False,
            help="Also the output of programs that devenv runs.",
        ),
    ] = 0,
    _no_color: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--no-color", callback=_note_no_color, expose_value=False, help="No colours (also NO_COLOR, TERM=dumb)."
        ),
    ] = False,
) -> None:
    """Holds the global flags; never called."""
