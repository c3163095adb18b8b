"""Reads settings: flags go over `DEVENV_SECTION__KEY` variables, those over `devenv.toml`, that over defaults.

Every problem, from all sources, is said in one message, each with the place where it stands.
"""

from __future__ import annotations

import difflib
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
from pydantic.fields import FieldInfo

from devenv.components import env_files
from devenv.environment import Environment
from devenv.errors import UsageError
from devenv.files import read_regular
from devenv.settings.schema import Section, Settings, describe
from devenv.settings.toml_lines import key_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE_NAME = "devenv.toml"

KeyPath = tuple[str, ...]

_PREFIX = "DEVENV_"
# Flags of `devenv up` that are not named as their setting is.
_FLAG_NAMES = {
    "airflow.version": "airflow-version",
    "airflow.schedulers": "with ha",
    "components": "with",
    "ports.airflow": "port",
}

_LARGEST = 1024 * 1024


class SettingsError(UsageError):
    """`devenv.toml`, a `DEVENV_…` variable or a flag is not valid; nothing was changed.

    The message names every problem at once, with the line, variable or flag where it stands and, for a
    misspelt key or value, the nearest one that exists. `devenv init --print` shows every setting with its
    meaning, `devenv config` what rules now and where each value came from.
    """

    code = "DEVENV-101"

    def __init__(self, problems: Sequence[Problem]) -> None:
        places = {problem.where.split(":")[0] for problem in problems}
        subject = f"{places.pop()} has" if len(places) == 1 else "the settings have"
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        width = max(len(problem.where) for problem in problems)
        lines = "\n".join(f"  {problem.where.ljust(width)}  {problem.message}" for problem in problems)
        super().__init__(
            f"{subject} {count}:\n{lines}",
            hint="devenv init --print   shows every setting with its meaning",
        )
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in the settings; `where` is `devenv.toml:7`, a variable or a flag."""

    where: str
    message: str


@dataclass(frozen=True)
class Effective:
    """The settings that rule, and where each came from.

    Attributes:
        settings: validated and frozen.
        origins: path of a key that was given → `devenv.toml:7`, `DEVENV_PORTS__AIRFLOW`, `--port`.
    """

    settings: Settings
    origins: Mapping[KeyPath, str]

    def origin(self, path: KeyPath) -> str:
        """Where the value at `path` came from; "default" when it was not given."""
        return self.origins.get(path, "default")


def load(
    folder: Path,
    environment: Environment,
    flags: Mapping[str, Any] | None = None,
    remembered: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings that rule in a project folder.

    Args:
        folder: where `devenv.toml` lies, if there is one.
        environment: for `DEVENV_SECTION__KEY` variables; an empty one counts as not given.
        flags: dotted key → value, "airflow.version": "3.3.2"; None counts as not given.
        remembered: flags of the last `devenv up`, in the same form; `flags` go over them.

    Raises:
        SettingsError: with every problem.
    """
    return read(folder, environment, flags, remembered, locate=False).settings


def read(
    folder: Path,
    environment: Environment,
    flags: Mapping[str, Any] | None = None,
    remembered: Mapping[str, Any] | None = None,
    *,
    locate: bool = True,
) -> Effective:
    """As `load`, with where each value came from.

    Args:
        folder: as for `load`.
        environment: as for `load`.
        flags: as for `load`.
        remembered: as for `load`.
        locate: look for the lines of `devenv.toml` too, which takes long for a long file; a problem has them always.

    Raises:
        SettingsError: with every problem.
    """
    problems: list[Problem] = []
    origins: dict[KeyPath, str] = {}
    merged, text = _from_file(folder / FILE_NAME, problems)
    if locate:
        origins.update({path: f"{FILE_NAME}:{line}" for path, line in key_lines(text).items()})
    sources = (
        *_from_variables(environment.variables, problems),
        *_from_flags(remembered or {}, "devenv up --{} (the last one)"),
        *_from_flags(flags or {}, "--{}"),
    )
    for path, value, origin in sources:
        if _put(merged, path, value):
            origins[path] = origin  # noqa: PERF403 (two things happen here)
    try:
        settings = Settings.model_validate(merged)
    except pydantic.ValidationError as error:
        if not locate:
            return read(folder, environment, flags, remembered)
        problems.extend(_explain(error, merged, origins))
        raise SettingsError(_in_order(problems)) from None
    problems.extend(_contradictions(settings, Effective(settings, origins)))
    if problems:
        if not locate:
            return read(folder, environment, flags, remembered)
        raise SettingsError(_in_order(problems))
    return Effective(settings, origins)


# -- the sources


def _from_file(file: Path, problems: list[Problem]) -> tuple[dict[str, Any], str]:
    """What the file says, and its text; both empty where it says nothing or cannot be read."""
    try:
        content = read_regular(file, _LARGEST)
    except FileNotFoundError:
        return {}, ""
    except OSError as error:
        problems.append(Problem(FILE_NAME, f"cannot be read: {error.strerror} ({file})"))
        return {}, ""
    if content is None:
        problems.append(Problem(FILE_NAME, f"is no regular file of at most {_LARGEST // 1024} KiB ({file})"))
        return {}, ""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problems.append(Problem(f"{FILE_NAME}:{line}", "is not UTF-8 text"))
        return {}, ""
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(_syntax_problem(str(error), text))
        return {}, ""
    return parsed, text


def _syntax_problem(message: str, text: str) -> Problem:
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)", message)
    number = int(place[1]) if place and place[1] else max(1, len(text.splitlines()))
    said = message[: place.start()] if place else message
    lines = text.splitlines()
    line = lines[number - 1].strip() if number <= len(lines) else ""
    return Problem(
        f"{FILE_NAME}:{number}", f"is not TOML: {said[:1].lower()}{said[1:]}" + (f": {line}" if line else "")
    )


def _from_variables(variables: Mapping[str, str], problems: list[Problem]) -> Iterator[tuple[KeyPath, Any, str]]:
    """`DEVENV_SECTION__KEY`, and `DEVENV_KEY` for keys outside a table. Other programs' `DEVENV_…` are left alone."""
    for name, text in sorted(variables.items()):
        if not name.startswith(_PREFIX) or not text:
            continue
        path = tuple(name[len(_PREFIX) :].lower().split("__"))
        if len(path) == 1 and path[0] not in Settings.model_fields:
            continue
        field = _field(path)
        if field is None:
            problems.append(Problem(name, _unknown(path)))
            continue
        try:
            yield path, _value(text, field), name
        except tomllib.TOMLDecodeError:
            problems.append(Problem(name, f"{'.'.join(path)} cannot be read from {text!r}; write it as in {FILE_NAME}"))


def _from_flags(flags: Mapping[str, Any], origin: str) -> Iterator[tuple[KeyPath, Any, str]]:
    for name, value in flags.items():
        if value is not None:
            path = tuple(name.split("."))
            yield path, value, origin.format(_FLAG_NAMES.get(name, path[-1]))


def _put(table: dict[str, Any], path: KeyPath, value: object) -> bool:
    for key in path[:-1]:
        below = table.setdefault(key, {})
        if not isinstance(below, dict):
            return False  # the file has a plain value where a table belongs, which validation reports
        table = below
    table[path[-1]] = value
    return True


def _value(text: str, field: FieldInfo | type) -> object:
    """A variable's text as the value that the setting takes: lists by commas, tables and numbers as in TOML."""
    annotation = field.annotation if isinstance(field, FieldInfo) else field
    kinds = set(_kinds(annotation))
    if str in kinds:
        return text
    if tuple in kinds and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if bool in kinds:
        text = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}.get(
            text.lower(), text.lower()
        )
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if dict in kinds:
            raise
        return text  # not a number: validation says what it must be


def _kinds(annotation: Any) -> Iterator[type]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _kinds(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            yield from _kinds(part)
    elif origin is typing.Literal:
        yield from (type(value) for value in typing.get_args(annotation))
    elif origin is not None:
        yield origin
    elif isinstance(annotation, type):
        yield annotation


# -- what keys there are


def _section(annotation: Any) -> type[Section] | None:
    return next((kind for kind in _kinds(annotation) if issubclass(kind, Section)), None)


def _field(path: KeyPath) -> FieldInfo | type | None:
    """What stands at a path of the schema; None when there is no such key."""
    model: type[Section] | None = Settings
    annotation: Any = None
    for index, key in enumerate(path):
        if model is not None:
            field = model.model_fields.get(key)
            if field is None:
                return None
            if index == len(path) - 1:
                return field
            annotation = field.annotation
            model = _section(annotation)
            continue
        while typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        if typing.get_origin(annotation) is not dict:
            return None
        annotation = typing.get_args(annotation)[1]  # any key: a table of the user's own names
        model = _section(annotation)
    return typing.cast("type", annotation)


def every_key(model: type[Section] = Settings, above: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo]]:
    """Every setting of the schema, tables' own entries left out: (("airflow", "version"), its field)."""
    describe()
    for name, field in model.model_fields.items():
        below = field.annotation if isinstance(field.annotation, type) else None
        if below is not None and issubclass(below, Section):
            yield from every_key(below, (*above, name))
        else:
            yield (*above, name), field


def _siblings(path: KeyPath) -> list[str]:
    model: type[Section] | None = Settings
    for index, _key in enumerate(path[:-1]):
        found = _field(path[: index + 1])
        annotation = found.annotation if isinstance(found, FieldInfo) else found
        model = _section(annotation)
    return list(model.model_fields) if model is not None else []


def _unknown(path: KeyPath) -> str:
    for depth in range(1, len(path)):
        if _field(path[:depth]) is None:
            path = path[:depth]
            break
    said = f"{'.'.join(path)} is not a setting"
    elsewhere = [".".join(known) for known, _ in every_key() if known[-1] == path[-1]]
    if near := difflib.get_close_matches(path[-1], _siblings(path), 1, 0.75 if elsewhere else 0.6):
        return f"{said}; did you mean {'.'.join((*path[:-1], near[0]))}?"
    if elsewhere:
        where = " or ".join(elsewhere[:2])
        if "." not in elsewhere[0]:
            return f"{said}; {where} stands outside any table, above the first [table]"
        return f"{said}; did you mean {where}?"
    return said


# -- what is said of a problem


def _nearest(origins: Mapping[KeyPath, str], path: KeyPath) -> str | None:
    while path:
        if path in origins:
            return origins[path]
        path = path[:-1]
    return None


def _place(origins: Mapping[KeyPath, str], path: KeyPath) -> str:
    return _nearest(origins, path) or FILE_NAME


def _explain(
    error: pydantic.ValidationError, merged: Mapping[str, Any], origins: Mapping[KeyPath, str]
) -> Iterator[Problem]:
    seen: set[KeyPath] = set()
    for item in error.errors(include_url=False):
        path = _key_path(item["loc"], merged)
        if path in seen:
            continue  # one branch of a union each
        seen.add(path)
        yield Problem(_place(origins, path), _say(path, item))


def _key_path(location: tuple[int | str, ...], merged: Mapping[str, Any]) -> KeyPath:
    """The part of pydantic's location that the user wrote: without positions in lists and branches of unions."""
    path: list[str] = []
    at: Any = merged
    for part in location:
        if not (isinstance(at, Mapping) and part in at):
            if not isinstance(at, Mapping) or path:
                missing = isinstance(at, Mapping) and isinstance(part, str)
                if missing:
                    path.append(str(part))
            break
        path.append(str(part))
        at = at[part]
    return tuple(path)


_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text in quotes",
    "tuple_type": 'a list: ["…", "…"]',
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def _say(path: KeyPath, item: Any) -> str:
    name, kind, given = ".".join(path), item["type"], item.get("input")
    context = item.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(path)
    if kind == "missing":
        return f"{name} is missing"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        said = f"{name} must be {_either(choices)}, not {_quote(given)}"
        near = difflib.get_close_matches(str(given), choices, 1, 0.5)
        near = near or [choice for choice in choices if str(given).lower() in choice.lower() and given]
        return f'{said}; did you mean "{near[0]}"?' if near else said
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        limit = {
            "greater_than_equal": f"at least {context.get('ge')}",
            "less_than_equal": f"at most {context.get('le')}",
            "greater_than": f"greater than {context.get('gt')}",
            "less_than": f"less than {context.get('lt')}",
        }[kind]
        return f"{name} must be {limit}, not {_quote(given)}"
    if kind == "string_pattern_mismatch":
        describe()
        field = _field(path)
        meaning = (field.description or "").splitlines()[0] if isinstance(field, FieldInfo) else ""
        return f"{name} cannot be {_quote(given)}" + (f". {meaning}" if meaning else "")
    if kind in _EXPECTED:
        return f"{name} must be {_EXPECTED[kind]}, not {_quote(given)}"
    said = item["msg"].removeprefix("Value error, ")
    return f"{name} {said}, not {_quote(given)}" if said.startswith("must ") else f"{name}: {said}"


def _either(choices: Sequence[str]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def _quote(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:59]}…"'
    if isinstance(value, Mapping):
        return "a table"
    return str(value)


def _in_order(problems: Sequence[Problem]) -> list[Problem]:
    """By line within the file, then variables and flags."""

    def key(problem: Problem) -> tuple[bool, int, str]:
        name, _, line = problem.where.partition(":")
        return name != FILE_NAME, int(line) if line.isdigit() else 0, name

    return sorted(problems, key=key)


# -- settings that are valid each by itself and not together


def _contradictions(settings: Settings, effective: Effective) -> Iterator[Problem]:
    airflow = settings.airflow

    def problem(path: KeyPath, message: str) -> Problem:
        return Problem(_place(effective.origins, path), message)

    executor = ("airflow", "executor")
    if airflow.executor == "SequentialExecutor":
        if airflow.version.startswith("3."):
            yield problem(
                executor, f"airflow.executor: Airflow {airflow.version} has no SequentialExecutor (removed in 3.0)"
            )
        if airflow.schedulers > 1:
            yield problem(("airflow", "schedulers"), "airflow.schedulers must be 1 with SequentialExecutor")
    if settings.backend == "local" and airflow.executor in ("KubernetesExecutor", "CeleryExecutor"):
        yield problem(
            executor, f"airflow.executor: {airflow.executor} needs a cluster; the local backend has LocalExecutor"
        )
    if settings.backend == "kubernetes" and not settings.kubernetes.context:
        yield problem(
            ("backend",),
            'backend = "kubernetes" needs kubernetes.context: devenv never uses the current context implicitly',
        )
    if settings.sync.transport == "configmap" and settings.sync.folders:
        yield problem(
            ("sync", "transport"), 'sync.transport: "configmap" carries the DAG folder only, not sync.folders'
        )
    for option, instead in (("executor", "airflow.executor"), ("dags_folder", "sync.dags")):
        if option in airflow.config.get("core", {}):
            yield problem(("airflow", "config", "core", option), f"airflow.config.core.{option}: set {instead} instead")
    yield from _twice(
        ((("ports", name), str(port)) for name, port in settings.ports), "port {} is already that of {}", problem
    )
    yield from _twice(
        ((("sync", "folders"), f"{name.rstrip('/').rsplit('/', 1)[-1]}/") for name in ("dags", *settings.sync.folders)),
        "two synced folders have the name {}",
        problem,
    )
    yield from _twice(
        (
            *((("vault", "secrets"), name) for name in env_files()),
            *((("vault", "secrets", name, "file"), secret.file) for name, secret in settings.vault.secrets.items()),
        ),
        "the file {} is already taken",
        problem,
    )


def _twice(pairs: Any, message: str, problem: typing.Callable[[KeyPath, str], Problem]) -> Iterator[Problem]:
    """A problem for each value that an earlier key has too."""
    first: dict[str, KeyPath] = {}
    for path, value in pairs:
        if value in first:
            other = ".".join(first[value])
            yield problem(path, f"{'.'.join(path)}: {message.format(value, other)}")
        first.setdefault(value, path)
