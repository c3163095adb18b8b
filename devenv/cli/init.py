"""`devenv init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from devenv.cli.context import console, session
from devenv.errors import UsageError
from devenv.events import Notice

_FIRST_DAG = "taskflow_example.py"
_FIRST_TEST = "test_dags.py"
_IGNORED = ".devenv/"
_TEST = """\
# Run by `devenv pytest`, which has the fixtures dag_bag, dag, run_task and render.


def test_every_dag_file_parses(dag_bag):
    assert dag_bag.import_errors == {}


def test_the_total_and_the_best_are_found(run_task):
    result = run_task("taskflow_example", "transform", xcoms={"extract": {"apples": 3.0, "pears": 1.5}})
    assert result.return_value == {"total": 4.5, "best": 3.0}
"""


class CannotInit(UsageError):
    """The folder cannot be made a project: it is not there, or cannot be written to."""

    code = "DEVENV-106"


def command(
    *,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print devenv.toml with every setting and its meaning, and write nothing.")
    ] = False,
) -> None:
    """Makes this folder a project: devenv.toml, a line in .gitignore, a first DAG.

    Never overwrites a file; run again, it adds what is missing. No setting is needed: everything in devenv.toml
    is a comment.

    Examples:
      devenv init
      devenv init --project ~/src/shop-dags
      devenv init --print | less
    """
    from devenv.settings.load import FILE_NAME
    from devenv.settings.template import template

    out = console()
    if print_only:
        out.print(template().rstrip("\n"))
        out.record("settings.template", {"text": template()})
        return
    current = session()
    folder = (current.environment.cwd / current.folder) if current.folder else current.environment.cwd
    if not folder.is_dir():
        raise CannotInit(f"there is no folder {folder}", hint=f"mkdir {folder}")
    try:
        made = [
            name
            for name, done in (
                (FILE_NAME, _create(folder / FILE_NAME, template())),
                (".gitignore", _ignore(folder / ".gitignore")),
                (f"dags/{_FIRST_DAG}", _first_dag(folder / "dags")),
                (f"tests/{_FIRST_TEST}", _first_test(folder)),
            )
            if done
        ]
    except OSError as error:
        raise CannotInit(f"{error.filename} cannot be written: {error.strerror}") from error
    for name in made:
        out.print(f"made {name}")
    out.record("init", {"folder": str(folder), "made": made})
    out.report(Notice("info", "ready" if made else "nothing was missing", "devenv up"))


def _create(file: Path, text: str) -> bool:
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        return False
    return True


def _ignore(file: Path) -> bool:
    """Adds the line, after the last one, which may lack its end."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    if {_IGNORED, _IGNORED.rstrip("/"), f"/{_IGNORED}"} & {line.strip() for line in text.splitlines()}:
        return False
    with file.open("a", encoding="utf-8") as stream:
        stream.write(("\n" if text and not text.endswith("\n") else "") + _IGNORED + "\n")
    return True


def _first_test(folder: Path) -> bool:
    """Tests to begin with, beside the first DAG, where there are none yet."""
    tests = folder / "tests"
    if tests.exists() or not (folder / "dags" / _FIRST_DAG).is_file():
        return False
    tests.mkdir()
    return _create(tests / _FIRST_TEST, _TEST)


def _first_dag(folder: Path) -> bool:
    """A DAG to begin with, where there is no DAG folder yet or it is empty."""
    from devenv.resources import sample_dags_folder

    if folder.is_dir() and any(folder.iterdir()):
        return False
    folder.mkdir(exist_ok=True)
    return _create(folder / _FIRST_DAG, (sample_dags_folder() / _FIRST_DAG).read_text(encoding="utf-8"))
