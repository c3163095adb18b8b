"""`devenv`: runs a command, and is the one place where an error becomes text, JSON and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devenv.environment import Session


def main(arguments: Sequence[str] | None = None, session: Session | None = None) -> int:
    """Runs `devenv` with these arguments; returns the exit code.

    Args:
        arguments: without the program's name; None takes the process's own.
        session: streams, variables and working folder; None takes the process's own.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    out = sys.stdout if session is None else session.environment.stdout
    if session is None and (asked := os.environ.get("_DEVENV_COMPLETE")):
        return _complete(given) if asked == "lines" else 0  # a script of typer's would evaluate what it gets
    if not given or given in (["--help"], ["-h"], ["help"]):
        from devenv.cli.commands import overview

        out.write(overview())  # imports nothing: the first thing that a newcomer types must be instant
        return 0
    if given == ["--version"]:
        from devenv import __version__

        out.write(f"devenv {__version__}\n")
        return 0
    gc.set_threshold(100_000)  # looking for cycles among classes that are just being made took a quarter of `status`
    from devenv.cli.boundary import run

    return run(given, session)


def _complete(words: Sequence[str]) -> int:
    from devenv.cli import completion

    completion.die_after(completion.SECONDS)
    text = "".join(f"{line}\n" for line in completion.complete(words))
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
