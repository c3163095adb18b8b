"""Secrets out of files that people have: Astro's `airflow_settings.yaml`, env files, JSON, and devenv's own export."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from devenv.vault import layout
from devenv.vault.errors import ImportInvalid

Kind = Literal["connections", "variables"]


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
        ImportInvalid: it is not understood; the message names the place, never a value.
    """
    if path.suffix in (".yaml", ".yml"):
        return _astro(path, _yaml(path, text))
    if path.suffix == ".json":
        return _json(path, text, kind)
    return _env(path, text, at)


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
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        where = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ImportInvalid(f"{path} is not YAML{where}: {error.problem}") from None
    if not isinstance(content, Mapping) or not isinstance(content.get("airflow"), Mapping):
        raise ImportInvalid(f"{path} has no section `airflow` with connections, variables and pools")
    section: Mapping[str, Any] = content["airflow"]
    return section


def _astro(path: Path, section: Mapping[str, Any]) -> Imported:
    """`airflow_settings.yaml`; entries without a name are the empty ones of its template."""
    secrets: dict[str, dict[str, str]] = {}
    for raw in _entries(path, section, "connections"):
        name = raw.get("conn_id")
        if name:
            parts = {key.removeprefix("conn_"): value for key, value in raw.items() if key != "conn_id"}
            parts["conn_type"] = parts.pop("type", None)
            uri = raw.get("conn_uri") or connection_uri(parts)
            secrets.update([_connection(str(name), str(uri))])
    for raw in _entries(path, section, "variables"):
        name = raw.get("variable_name")
        if name:
            value = raw.get("variable_value")
            secrets.update([_variable(str(name), "" if value is None else value)])
    pools = []
    for raw in _entries(path, section, "pools"):
        name, slots = raw.get("pool_name"), raw.get("pool_slot")
        if name:
            if not isinstance(slots, int):
                raise ImportInvalid(f"{path}: pool {name}: pool_slot must be a number")
            pools.append(Pool(str(name), slots, str(raw.get("pool_description") or "")))
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
    for name, raw in content.items():
        if not isinstance(raw, Mapping):
            raise ImportInvalid(f"{path}: `{name}` must be an object")
        for key, value in raw.items():
            if name == "connections":
                secrets.update([_connection(str(key), _uri(path, str(key), value))])
            elif name == "variables":
                secrets.update([_variable(str(key), value)])
            elif isinstance(value, Mapping):
                secrets[str(key)] = {str(each): str(text) for each, text in value.items()}
            else:
                raise ImportInvalid(f"{path}: {key} must be an object of keys and values")
    return Imported(secrets)


def _uri(path: Path, name: str, raw: object) -> str:
    """A connection as a URI, or in the parts that `airflow connections export` writes."""
    if isinstance(raw, Mapping):
        return connection_uri(raw)
    if isinstance(raw, str) and "://" in raw:
        return raw
    raise ImportInvalid(f"{path}: connection {name} must be a URI, or an object with conn_type, host …")


def _env(path: Path, text: str, at: str | None) -> Imported:
    secrets: dict[str, dict[str, str]] = {}
    others: dict[str, str] = {}
    for name, value in env_lines(text, str(path)).items():
        if name.startswith("AIRFLOW_CONN_"):
            conn = name.removeprefix("AIRFLOW_CONN_").lower()
            parsed = json.loads(value) if value.lstrip().startswith("{") else value
            secrets.update([_connection(conn, _uri(path, conn, parsed))])
        elif name.startswith("AIRFLOW_VAR_"):
            secrets.update([_variable(name.removeprefix("AIRFLOW_VAR_").lower(), value)])
        else:
            others[name] = value
    if others and at is None:
        raise ImportInvalid(
            f"{path}: {', '.join(sorted(others)[:5])} are no AIRFLOW_CONN_ and no AIRFLOW_VAR_, so they need a path",
            hint=f"devenv secrets import {path} --path kyuubi/database",
        )
    if others and at is not None:
        secrets[at] = others
    return Imported(secrets)


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
