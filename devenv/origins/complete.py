"""Fills in what `devenv.toml` does not say and the repository shows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devenv.origins import astro, compose, composer, dockerfile, exports, folders, helm, mwaa, packages
from devenv.origins.found import Found, NotTaken
from devenv.origins.variables import read_env_file
from devenv.settings.load import FILE_NAME
from devenv.settings.schema import Settings

_PLACES = ("", "airflow", "docker", "docker/airflow")
"""Folders of a repository in which the files of an origin lie, besides the one that holds the DAG folder."""
_DOCKERFILES = ("Dockerfile", "Dockerfile.airflow", "airflow.Dockerfile", "Containerfile")
_FILES_LIMIT = 20
_DEPTH = 3
_FOLDERS_LIMIT = 50
_ENTRIES_LIMIT = 500
_NEVER = {"node_modules", "venv", "env", "site-packages", "__pycache__"}
_DAGS = ("sync", "dags")
_Read = Callable[[Path, Path], Iterator["Found | NotTaken"]]
_ORIGINS: tuple[tuple[tuple[str, ...], _Read], ...] = (
    (compose.NAMES, compose.read),
    (_DOCKERFILES, dockerfile.read),
    ((astro.SETTINGS,), astro.read),
    (mwaa.STARTUP_SCRIPTS, mwaa.read_startup),
    ((mwaa.PLUGINS,), mwaa.read_plugins),
    ((mwaa.RUNNER,), mwaa.read_runner),
    (("requirements.txt", "pyproject.toml", "Pipfile"), packages.read),
)
"""Names of files → who reads them; what stands first goes over what stands below, where both set a variable."""
_PATTERNS: tuple[tuple[tuple[str, ...], _Read], ...] = (
    (composer.PATTERNS, composer.read),
    (helm.PATTERNS, helm.read),
    (exports.PATTERNS, exports.read),
)


@dataclass(frozen=True)
class Completed:
    """The settings with what the repository shows.

    Attributes:
        settings: that rule.
        found: what was taken from the repository.
        not_taken: what its files have and devenv does not take over.
    """

    settings: Settings
    found: tuple[Found, ...] = ()
    not_taken: tuple[NotTaken, ...] = ()


def complete(folder: Path, settings: Settings, named: Path | None = None) -> Completed:
    """Fills in what was not set and the repository shows.

    Args:
        folder: of the project.
        settings: what `devenv.toml`, variables and flags say.
        named: a file that the user names as the origin; it goes over every other.
    """
    return _Repository(folder, settings, list(_read_named(folder, named)) if named else []).completed()


def has_dag_folder(folder: Path) -> bool:
    """Whether a repository without `dags/` shows where its DAG files are."""
    return any(one.path == _DAGS for one in _Repository(folder, Settings(), []).completed().found)


def _read_named(folder: Path, file: Path) -> Iterator[Found | NotTaken]:
    """What one file shows, by whoever understands its name; values of a chart with their variables and options."""
    for names, read in _ORIGINS:
        if file.name in {Path(name).name for name in names}:
            yield from read(folder, file)
            return
    if "Dockerfile" in file.name:
        yield from dockerfile.read(folder, file)
    elif file.suffix in (".yaml", ".yml"):
        yield from compose.read(folder, file)
        yield from helm.read(folder, file, whole=True)
    elif file.suffix in (".tf", ".json"):
        yield from composer.read(folder, file)
    elif file.suffix == ".sh":
        yield from mwaa.read_startup(folder, file)


def _shown(folder: Path, places: Sequence[str]) -> Iterator[Found | NotTaken]:
    for names, read in _ORIGINS:
        for place, name in itertools.product(places, names):
            file = folder / place / name
            if file.is_file():
                yield from read(folder, file)


def _shown_anywhere(folder: Path) -> Iterator[Found | NotTaken]:
    near = list(_near(folder))
    for patterns, read in _PATTERNS:
        named = (path for path in near if any(path.match(pattern) for pattern in patterns) and path.is_file())
        for file in itertools.islice(named, _FILES_LIMIT):
            yield from read(folder, file)


def _near(folder: Path) -> Iterator[Path]:
    """What lies in the folder and up to two levels below it, within bounds. Each folder is listed once."""
    level = [folder]
    for depth in range(_DEPTH):
        entries = [path for place in level for path in sorted(_entries(place))]
        yield from entries
        if depth < _DEPTH - 1:
            below = (path for path in entries if path.name not in _NEVER and path.is_dir())
            level = list(itertools.islice(below, _FOLDERS_LIMIT))


def _entries(folder: Path) -> list[Path]:
    try:
        found = (path for path in folder.iterdir() if not path.name.startswith("."))
        return list(itertools.islice(found, _ENTRIES_LIMIT))
    except OSError:
        return []


class _Repository:
    """One look at a repository. The DAG folder is answered first, since the other answers depend on it."""

    def __init__(self, folder: Path, given: Settings, named: list[Found | NotTaken]) -> None:
        self._folder = folder
        self._given = given
        self._named = named
        self._settings = given
        self._shown = [*_shown(folder, _PLACES), *_shown_anywhere(folder)]
        self._found: list[Found] = []
        self._not_taken: list[NotTaken] = []

    def completed(self) -> Completed:
        self._take_dag_folder()
        home = folders.beside(self._folder, self._settings.sync.dags)
        inside = home.relative_to(self._folder.resolve()).as_posix() if home else "."
        if inside not in (".", *_PLACES):
            self._shown += _shown(self._folder, (inside,))
        self._take_one(("airflow", "version"))
        for setting, name in (("env_file", ".env"), ("requirements", "requirements.txt")):
            self._take_file((setting,), f"{inside}/{name}")
        self._take_folders()
        self._take_variables()
        self._take_options()
        everything = [*self._named, *self._shown]
        self._not_taken += [one for one in everything if isinstance(one, NotTaken)]
        if not (self._folder / self._settings.requirements).is_file():
            self._not_taken += packages.not_read(self._folder)
        return Completed(self._settings, tuple(self._found), tuple(dict.fromkeys(self._not_taken)))

    def _is_given(self, path: tuple[str, ...]) -> bool:
        section: Any = self._given
        for key in path[:-1]:
            section = getattr(section, key)
        return path[-1] in section.model_fields_set

    def _answers(self, path: tuple[str, ...]) -> list[Found]:
        """What the named file answers, else what the others do; each value once."""
        for shown in (self._named, self._shown):
            answers: dict[Any, Found] = {}
            for one in shown:
                if isinstance(one, Found) and one.path == path:
                    answers.setdefault(one.value, one)
            if answers:
                return list(answers.values())
        return []

    def _take(self, *found: Found) -> None:
        for one in found:
            self._found.append(one)
            self._settings = _replaced(self._settings, one.path, one.value)

    def _take_one(self, path: tuple[str, ...]) -> bool:
        """Takes the only answer for a setting, none where files disagree. False where no file has an answer."""
        if self._is_given(path):
            return True
        answers = self._answers(path)
        if len(answers) == 1:
            self._take(answers[0])
        elif answers:
            listed = ", ".join(f"{one.value} by {one.source}" for one in answers)
            name = ".".join(path)
            self._not_taken.append(
                NotTaken(f"{name}: {listed}", "", f"set {name} in {FILE_NAME}", answers=tuple(answers))
            )
        return bool(answers)

    def _take_dag_folder(self) -> None:
        named = any(isinstance(one, Found) and one.path == _DAGS for one in self._named)
        if not named and (self._folder / self._settings.sync.dags).is_dir():
            return
        if not self._take_one(_DAGS):
            self._take(*folders.dag_folder(self._folder))

    def _take_file(self, path: tuple[str], beside: str) -> None:
        """Takes a file of another name, or the one beside a DAG folder further down."""
        default = getattr(self._given, path[0])
        if self._take_one(path) or (self._folder / default).exists() or not (self._folder / beside).is_file():
            return
        self._take(Found(path, beside, f"{beside} beside the DAG folder"))

    def _take_folders(self) -> None:
        """Takes folders that containers have, and those that lie beside the DAG folder and are used."""
        if self._given.sync.transport == "configmap":
            return
        for name in ("folders", "python_path"):
            path = ("sync", name)
            if self._is_given(path):
                continue
            found = self._answers(path)
            if name == "folders":
                found = [*folders.further_folders(self._folder, self._settings.sync.dags), *found]
            dags = self._settings.sync.dags
            values = _one_each([value for one in found for value in one.value if value != dags])
            if values:
                self._take(Found(path, values, ", ".join(dict.fromkeys(one.source for one in found))))

    def _take_variables(self) -> None:
        from_file: Mapping[str, str] | None = None
        taken = set(self._given.environment)
        from_containers = [one for one in self._shown if isinstance(one, Found) and not one.below_env_file]
        for one in [*self._named, *from_containers, *self._shown]:  # a container's goes over its image's
            if not isinstance(one, Found) or one.path[0] != "environment" or one.path[1] in taken:
                continue
            if one.below_env_file:
                if from_file is None:
                    from_file = read_env_file(self._folder / self._settings.env_file)
                if one.path[1] in from_file:
                    continue
            taken.add(one.path[1])
            self._take(one)

    def _take_options(self) -> None:
        for one in self._named:
            if isinstance(one, Found) and one.path[:2] == ("airflow", "config"):
                _airflow, _config, section, key = one.path
                if key not in self._given.airflow.config.get(section, {}):
                    self._take(one)


def _one_each(paths: Sequence[str]) -> tuple[str, ...]:
    """Each folder once, and of two with one name the first, since both would lie in one place."""
    by_name: dict[str, str] = {}
    for path in paths:
        by_name.setdefault(Path(path).name, path)
    return tuple(by_name.values())


def _replaced(section: Any, path: tuple[str, ...], value: Any) -> Any:
    """The settings, or a table of them, with another value at a path."""
    key, *rest = path
    if isinstance(section, dict):
        return {**section, key: _replaced(section.get(key, {}), tuple(rest), value) if rest else value}
    below = _replaced(getattr(section, key), tuple(rest), value) if rest else value
    return section.model_copy(update={key: below})
