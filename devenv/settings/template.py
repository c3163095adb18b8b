"""`devenv.toml` with every setting as a comment, made from the schema: its docstrings are the explanation."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic.fields import FieldInfo

from devenv.foreign_text import visible
from devenv.settings.schema import Section, Settings, describe

# What to show for a setting whose default says nothing; a comment, so that it is not in force.
_EXAMPLES = {
    "name": '"shop"',
    "components": '["monitoring"]',
    "airflow.executor": '"KubernetesExecutor"',
    "airflow.secrets_namespace": '"tools"',
    "images.airflow": '"registry.example.com/team/airflow:2.7.2"',
    "images.pull_secret": '"registry-login"',
    "images.build_network": '"host"',
    "minikube.driver": '"docker"',
    "minikube.cpus": "4",
    "minikube.memory": '"6g"',
    "minikube.kubernetes_version": '"stable"',
    "minikube.container_runtime": '"containerd"',
    "minikube.extra_arguments": '["--embed-certs"]',
    "kubernetes.context": '"team-cluster"',
    "kubernetes.storage_class": '"nfs"',
    "kubernetes.image_registry": '"registry.example.com/team"',
    "sync.folders": '["plugins", "include"]',
    "sync.python_path": '["dags/libs"]',
    "check.ignore": '["top-level-io"]',
    "sync.ignore": '["*.ipynb", "!keep.ipynb"]',
    "vault.pull": '["connections/warehouse_*", "variables/*"]',
    "vault.seeds": '"~/seeds.toml"',
}


@dataclass(frozen=True)
class Given:
    """A value that the file has not as a comment.

    Attributes:
        path: of the setting: `("airflow", "version")`.
        value: text, or texts.
        source: a comment beside it.
    """

    path: tuple[str, ...]
    value: object
    source: str


_TABLES = {
    "environment": ("[environment]", 'TEAM_BUCKET = "s3://team"', 'TEAM_TOKEN = "vault:team/reader#TOKEN"'),
    "airflow.config": ("[airflow.config.core]", "parallelism = 64"),
    "images.build_arguments": ("[images.build_arguments]", 'PIP_INDEX_URL = "https://pypi.example.com/simple"'),
    "kubernetes.service_account_annotations": (
        "[kubernetes.service_account_annotations]",
        '"example.com/identity" = "airflow"',
    ),
    "vault.secrets": (
        "[vault.secrets.warehouse]",
        'path = "warehouse/reader"',
        'file = "warehouse.env"',
        'keys = ["USER", "PASSWORD"]',
    ),
}


def template(given: Sequence[Given] = ()) -> str:
    """The file: every setting with its meaning and its default, commented out, but for those that are given."""
    describe()
    values = {one.path: one for one in given}
    head = [
        "# Settings of devenv for this project. Everything has a default; remove the # of what you want to change.",
        "# `devenv config` shows what rules now, and where it came from.",
    ]
    return "\n".join([*head, *_section(Settings, (), values)]) + "\n"


def _section(model: type[Section], above: tuple[str, ...], given: Mapping[tuple[str, ...], Given]) -> Iterator[str]:
    below: list[tuple[str, type[Section], FieldInfo]] = []
    tables: list[list[str]] = []
    for name, field in model.model_fields.items():
        dotted = ".".join((*above, name))
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            below.append((name, annotation, field))
        elif dotted in _TABLES:
            commented = [f"# {line}" for line in (_meaning(field), *_TABLES[dotted])]
            tables.append([*commented, *_given_table((*above, name), given)])
        else:
            yield ""
            yield f"# {_meaning(field)}"
            if choices := _choices(annotation):
                yield f"# One of: {', '.join(choices)}."
            one = given.get((*above, name))
            yield f"# {name} = {_example(dotted, field)}" if one is None else _line(name, one)
    for lines in tables:
        yield ""
        yield from lines
    for name, annotation, _field in below:
        yield ""
        yield ""
        title = (annotation.__doc__ or "").splitlines()[0].split(": ", 1)[-1]
        yield f"# {title[:1].upper()}{title[1:]}"
        yield f"[{'.'.join((*above, name))}]"
        yield from _section(annotation, (*above, name), given)


def _given_table(path: tuple[str, ...], given: Mapping[tuple[str, ...], Given]) -> Iterator[str]:
    """The tables that hold what is given below a path: `[environment]`, `[airflow.config.core]`."""
    last: tuple[str, ...] = ()
    for one in sorted((one for one in given.values() if one.path[: len(path)] == path), key=lambda one: one.path):
        if one.path[:-1] != last:
            last = one.path[:-1]
            yield f"[{'.'.join(last)}]"
        yield _line(json.dumps(one.path[-1]), one)


def _line(key: str, one: Given) -> str:
    """TOML's strings and arrays are JSON's, but for DEL, which must be escaped; a file's name may hold anything."""
    value = json.dumps(one.value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"{key} = {value}  # {visible(one.source)}"


def _meaning(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _choices(annotation: object) -> list[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return [json.dumps(choice) for choice in typing.get_args(annotation)]
    found: list[str] = []
    for part in typing.get_args(annotation):
        found += _choices(part)
    return found


def _example(dotted: str, field: FieldInfo) -> str:
    return _EXAMPLES.get(dotted) or json.dumps(field.default, ensure_ascii=False)
