"""`devenv init`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from devenv.cli.context import console, session
from devenv.cli.origins import print_not_taken, taken
from devenv.errors import UsageError
from devenv.events import Notice

if TYPE_CHECKING:
    from devenv.origins.complete import Completed
    from devenv.origins.found import Found
    from devenv.settings.template import Given

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
    origin: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="What the DAGs were laid out for: a Dockerfile, a compose file, a chart's values.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; what files disagree about stays open.")
    ] = False,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print devenv.toml with every setting and its meaning, and write nothing.")
    ] = False,
) -> None:
    """Makes this folder a project: devenv.toml, a line in .gitignore, a first DAG.

    Never overwrites a file; run again, it adds what is missing. Everything in devenv.toml is a comment, but for what
    the repository's own files say: a Dockerfile, a compose file, requirements.txt, a chart's values, Terraform. Where
    they disagree, it asks; what cannot be taken over is listed.

    Examples:
      devenv init
      devenv init --from deploy/values.yaml
      devenv init --project ~/src/shop-dags --yes
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
    folder = folder.resolve()
    if not folder.is_dir():
        raise CannotInit(f"there is no folder {folder}", hint=f"mkdir {folder}")
    named = _origin(folder, current.environment.cwd / origin) if origin is not None else None
    done, given = _taken(folder, named, ask=not yes)
    try:
        made = [
            name
            for name, is_made in (
                (FILE_NAME, _create(folder / FILE_NAME, template(given))),
                (".gitignore", _ignore(folder / ".gitignore")),
                ("requirements.txt", _requirements(folder, done)),
                (f"dags/{_FIRST_DAG}", _first_dag(folder, done)),
                (f"tests/{_FIRST_TEST}", _first_test(folder)),
            )
            if is_made
        ]
    except OSError as error:
        raise CannotInit(f"{error.filename} cannot be written: {error.strerror}") from error
    for name in made:
        out.print(f"made {name}")
    for line in taken(done.found):
        out.print(line)
    print_not_taken([one for one in done.not_taken if not (one.packages and "requirements.txt" in made)])
    if given and FILE_NAME not in made:
        out.report(Notice("warning", f"{FILE_NAME} exists and was left as it is", "devenv config --origins"))
    out.record("init", {"folder": str(folder), "made": made})
    out.report(Notice("info", "ready" if made else "nothing was missing", "devenv up"))


def _origin(folder: Path, file: Path) -> Path:
    """The file that `--from` names.

    Raises:
        CannotInit: it is not there, or lies outside of the project.
    """
    if not file.is_file():
        raise CannotInit(f"there is no file {file}")
    if not file.resolve().is_relative_to(folder):
        raise CannotInit(f"{file} does not lie in {folder}", hint=f"cp {file} {folder}/")
    return file.resolve()


def _taken(folder: Path, named: Path | None, *, ask: bool) -> tuple[Completed, list[Given]]:
    """What the repository's files say, and what of it stands in devenv.toml.

    Variables are left where they are, since they are read there at each start, but for those of a file that was named
    for them.

    Raises:
        CannotInit: the file that was named says nothing.
        SettingsError: devenv.toml, or a variable, is not valid.
    """
    from devenv.origins.complete import complete
    from devenv.settings.load import load
    from devenv.settings.template import Given

    settings = load(folder, session().environment, {})
    done = complete(folder, settings, named)
    if named is not None and not any(one.source == named.relative_to(folder).as_posix() for one in done.found):
        raise CannotInit(
            f"{named.relative_to(folder)} says nothing that devenv could take over",
            hint="name a Dockerfile or compose file of Airflow, a Helm chart's values, or requirements.txt",
        )
    by_itself = {(one.path, str(one.value)) for one in (complete(folder, settings) if named else done).found}
    given = [
        Given(one.path, one.value, f"from {one.source}")
        for one in done.found
        if one.path[0] != "environment" or (one.path, str(one.value)) not in by_itself
    ]
    left = []
    for one in done.not_taken:
        chosen = _ask(one.answers) if ask and one.answers else None
        if chosen is None:
            left.append(one)
        else:
            given.append(Given(chosen.path, chosen.value, f"chosen; {chosen.source} says so"))
    return replace(done, not_taken=tuple(left)), given


def _ask(answers: Sequence[Found]) -> Found | None:
    """The answer that the user chooses; None without a terminal, or when the question is left open."""
    name = ".".join(answers[0].path)
    choices = [f"{one.value}, by {one.source}" for one in answers]
    number = console().choose(f"Which {name} holds?", choices)
    return answers[number] if number is not None else None


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


def _requirements(folder: Path, done: Completed) -> bool:
    """The packages that other files have installed, where there is no list of packages yet."""
    lists = [one for one in done.not_taken if one.packages]
    if not lists or done.settings.requirements != "requirements.txt":
        return False
    text = "".join(f"# {one.source}\n" + "".join(f"{package}\n" for package in one.packages) for one in lists)
    return _create(folder / "requirements.txt", text)


def _first_dag(folder: Path, done: Completed) -> bool:
    """A DAG to begin with, where there is no DAG folder yet or it is empty."""
    from devenv.resources import sample_dags_folder

    dags = folder / "dags"
    if done.settings.sync.dags != "dags" or (dags.is_dir() and any(dags.iterdir())):
        return False
    dags.mkdir(exist_ok=True)
    return _create(dags / _FIRST_DAG, (sample_dags_folder() / _FIRST_DAG).read_text(encoding="utf-8"))
