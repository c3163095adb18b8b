"""Secrets out of files that people have: Astro's `airflow_settings.yaml`, env files, JSON, and devenv's own export."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from devenv.vault import layout
from devenv.vault.errors import ImportInvalid

Kind = Literal["connections", "variables"]
_SHOWN = 20


@dataclass(frozen=True)
class Pool:
    """An Airflow pool; it lives in Airflow's database, not in Vault."""

    name: str
    slots: int
    description: str = ""


@dataclass(frozen=True)
class Imported:
    """What a file held.

    Attributes:
        secrets: path → key → value, connections and variables among them.
        pools: for Airflow.
    """

    secrets: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    pools: tuple[Pool, ...] = ()


def read_file(path: Path, text: str, *, kind: Kind | None = None, at: str | None = None) -> Imported:
    """What a file holds, by its name: `.yaml` or `.yml`, `.json`, anything else as an env file.

    Args:
        path: for its name.
        text: its content.
        kind: for a JSON object of names: what they are.
        at: for an env file: the path in Vault of the keys that are no `AIRFLOW_CONN_` or `AIRFLOW_VAR_`.

    Raises:
        ImportInvalid: it is not understood, or holds what `devenv secrets set` would refuse; the message names each
            place, never a value.
    """
    if path.suffix in (".yaml", ".yml"):
        found = _astro(path, _yaml(path, text))
    elif path.suffix == ".json":
        found = _json(path, text, kind)
    else:
        found = _env(path, text, at)
    _require_places(path, found)
    return found


def is_name(name: str) -> bool:
    """Whether a connection or variable may be called so; Airflow's Vault backend takes a slash for a folder."""
    return re.fullmatch(r"[\w.\- ]+(/[\w.\- ]+)*", name) is not None and ".." not in name.split("/")


def is_path(path: str) -> bool:
    """Whether a path in Vault may be called so; `devenv/` is devenv's own."""
    return re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", path) is not None and not path.startswith("devenv/")


def _require_places(path: Path, found: Imported) -> None:
    wrong = []
    for each, values in found.secrets.items():
        folder, _, name = each.partition("/")
        lives = {layout.CONNECTIONS: "connection", layout.VARIABLES: "variable"}
        if folder in lives and not is_name(name):
            wrong.append(f"no {lives[folder]} can be called {name!r}")
        elif folder not in lives and not is_path(each):
            wrong.append(f"no path in Vault can be called {each!r}")
        wrong += [f"{each}: a key is empty" for key in values if not key]
    _refuse(path, wrong)


def _refuse(path: Path, wrong: Sequence[str]) -> None:
    """All that is wrong at once, and nothing is imported.

    Raises:
        ImportInvalid: something is.
    """
    if wrong:
        more = f"\nand {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ImportInvalid(f"{path}: " + "\n".join(wrong[:_SHOWN]) + more, hint="nothing was imported; mend the file")


def connection_uri(conn: Mapping[str, Any]) -> str:
    """The URI of a connection that is given in parts, as `Connection.get_uri` makes it (Airflow 2.3 on)."""
    extra = conn.get("extra")
    if extra and not isinstance(extra, str):
        extra = json.dumps(extra)

    def part(name: str) -> str:
        value = conn.get(name)
        return "" if value is None else quote(str(value), safe="")

    login = part("login") + (f":{part('password')}" if part("password") else "")
    host = part("host") + (f":{part('port')}" if part("port") else "")
    kind = str(conn.get("conn_type") or "generic").lower().replace("_", "-")
    query = f"?__extra__={quote(extra, safe='')}" if extra else ""
    return f"{kind}://{f'{login}@' if login else ''}{host}/{part('schema')}{query}"


def _connection(name: str, uri: str) -> tuple[str, dict[str, str]]:
    return f"{layout.CONNECTIONS}/{name}", {layout.CONNECTION_KEY: uri}


def _variable(name: str, value: object) -> tuple[str, dict[str, str]]:
    return f"{layout.VARIABLES}/{name}", {layout.VARIABLE_KEY: value if isinstance(value, str) else json.dumps(value)}


def _yaml(path: Path, text: str) -> Mapping[str, Any]:
    import yaml

    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):  # a few lines of them make gigabytes
                raise ImportInvalid(f"{path} refers to the anchor *{event.anchor}", hint="write it out")
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ImportInvalid(f"{path} is not YAML{where}: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ImportInvalid(f"{path} is not YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise ImportInvalid(f"{path} is nested too deeply") from None
    if not isinstance(content, Mapping) or not isinstance(content.get("airflow"), Mapping):
        raise ImportInvalid(f"{path} has no section `airflow` with connections, variables and pools")
    section: Mapping[str, Any] = content["airflow"]
    return section


def _astro(path: Path, section: Mapping[str, Any]) -> Imported:
    """`airflow_settings.yaml`; entries without a name are the empty ones of its template."""
    secrets: dict[str, dict[str, str]] = {}
    wrong: list[str] = []
    for raw in _entries(path, section, "connections"):
        name = raw.get("conn_id")
        if name:
            parts = {str(key).removeprefix("conn_"): value for key, value in raw.items() if key != "conn_id"}
            parts["conn_type"] = parts.pop("type", None)
            uri = raw.get("conn_uri") or connection_uri(parts)
            if isinstance(name, str) and isinstance(uri, str):
                secrets.update([_connection(name, uri)])
            else:
                wrong.append(f"connection {name}: conn_id and conn_uri must be text")
    for raw in _entries(path, section, "variables"):
        name = raw.get("variable_name")
        if name:
            value = raw.get("variable_value")
            secrets.update([_variable(str(name), "" if value is None else value)])
    pools = []
    for raw in _entries(path, section, "pools"):
        name, slots = raw.get("pool_name"), raw.get("pool_slot")
        if name:
            if not isinstance(slots, int) or isinstance(slots, bool):
                wrong.append(f"pool {name}: pool_slot must be a number")
                continue
            pools.append(Pool(str(name), slots, str(raw.get("pool_description") or "")))
    _refuse(path, wrong)
    return Imported(secrets, tuple(pools))


def _entries(path: Path, section: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    entries = section.get(name) or []
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ImportInvalid(f"{path}: `{name}` must be a list of entries")
    return entries


def _json(path: Path, text: str, kind: Kind | None) -> Imported:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ImportInvalid(f"{path} is not JSON: {error}") from None
    except RecursionError:
        raise ImportInvalid(f"{path} is nested too deeply") from None
    if not isinstance(content, Mapping):
        raise ImportInvalid(f"{path} must hold an object")
    if kind is None and content and set(content) <= {"secrets", "connections", "variables"}:
        return _own(path, content)
    if kind is None:
        values = list(content.values())
        if values and all(isinstance(value, Mapping) and "conn_type" in value for value in values):
            kind = "connections"
        else:
            raise ImportInvalid(
                f"{path} may hold connections or variables",
                hint="devenv secrets import FILE --as connections   (or variables)",
            )
    if kind == "variables":
        return Imported(dict(_variable(str(name), value) for name, value in content.items()))
    return Imported(dict(_connection(str(name), _uri(path, str(name), value)) for name, value in content.items()))


def _own(path: Path, content: Mapping[str, Any]) -> Imported:
    """What `devenv secrets export` writes."""
    secrets: dict[str, dict[str, str]] = {}
    wrong: list[str] = []
    for name, raw in content.items():
        if not isinstance(raw, Mapping):
            raise ImportInvalid(f"{path}: `{name}` must be an object")
        for key, value in raw.items():
            if name == "connections":
                secrets.update([_connection(str(key), _uri(path, str(key), value))])
            elif name == "variables":
                secrets.update([_variable(str(key), value)])
            elif isinstance(value, Mapping) and all(isinstance(text, (str, int, float)) for text in value.values()):
                secrets[str(key)] = {str(each): _text(text) for each, text in value.items()}
            else:
                wrong.append(f"{key} must be an object of keys and texts")
    _refuse(path, wrong)
    return Imported(secrets)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _uri(path: Path, name: str, raw: object) -> str:
    """A connection as a URI, or in the parts that `airflow connections export` writes."""
    if isinstance(raw, Mapping):
        return connection_uri(raw)
    if isinstance(raw, str) and "://" in raw:
        return raw
    raise ImportInvalid(f"{path}: connection {name} must be a URI, or an object with conn_type, host …")


def from_variables(path: Path, values: Mapping[str, str], at: str | None) -> tuple[Imported, dict[str, str]]:
    """Environment variables as connections and variables; those that are neither lie at `at`, or are returned.

    Args:
        path: what they came from, for messages.
        values: `AIRFLOW_CONN_X`, `AIRFLOW_VAR_X` and others.
        at: the path in Vault for the others.

    Raises:
        ImportInvalid: a connection is not understood.
    """
    secrets: dict[str, dict[str, str]] = {}
    others: dict[str, str] = {}
    for name, value in values.items():
        if name.startswith("AIRFLOW_CONN_"):
            conn = name.removeprefix("AIRFLOW_CONN_").lower()
            parsed = _parts(path, conn, value) if value.lstrip().startswith("{") else value
            secrets.update([_connection(conn, _uri(path, conn, parsed))])
        elif name.startswith("AIRFLOW_VAR_"):
            secrets.update([_variable(name.removeprefix("AIRFLOW_VAR_").lower(), value)])
        else:
            others[name] = value
    if others and at is not None:
        secrets[at], others = others, {}
    found = Imported(secrets)
    _require_places(path, found)
    return found, others


def _env(path: Path, text: str, at: str | None) -> Imported:
    found, others = from_variables(path, env_lines(text, str(path)), at)
    if others:
        raise ImportInvalid(
            f"{path}: {', '.join(sorted(others)[:5])} are no AIRFLOW_CONN_ and no AIRFLOW_VAR_, so they need a path",
            hint=f"devenv secrets import {path} --path kyuubi/database",
        )
    return found


def _parts(path: Path, name: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ImportInvalid(f"{path}: connection {name} is not JSON") from None


def env_lines(text: str, where: str) -> dict[str, str]:
    """`KEY=value` lines, with or without `export`, quoted as for a shell; values may span lines inside quotes.

    Raises:
        ImportInvalid: a line is none.
    """
    found: dict[str, str] = {}
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        stripped = line.strip().removeprefix("export ").lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        match = re.match(r"([A-Za-z_]\w*)=(.*)", stripped, re.DOTALL)
        if match is None:
            raise ImportInvalid(f"{where}: line {number} is not KEY=value")
        raw = match.group(2)
        while raw[:1] in ("'", '"') and not _closed(raw):
            following = next(lines, None)
            if following is None:
                raise ImportInvalid(f"{where}: the quote that opens in line {number} is never closed")
            raw += "\n" + following[1]
        found[match.group(1)] = "".join(shlex.split(raw)) if raw[:1] in ("'", '"') else raw.strip()
    return found


def _closed(raw: str) -> bool:
    try:
        shlex.split(raw)
    except ValueError:
        return False
    return True
