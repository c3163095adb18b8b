"""On which line of a TOML file each key stands, which the standard parser does not tell."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Path = tuple[str, ...]


def key_lines(text: str) -> dict[Path, int]:
    """Key path → 1-based line of the statement that sets it; a table's path → its header or first key.

    The text is parsed in ever longer pieces, so that multi-line strings, arrays and inline tables are the
    parser's business. Used for messages and `devenv config` only: the cost grows with the square of the length.
    """
    lines = text.splitlines()
    found: dict[Path, int] = {}
    known: set[Path] = set()
    statement = 1
    for number in range(1, len(lines) + 1):
        if number == statement and _is_blank(lines[number - 1]):
            statement = number + 1
            continue
        try:
            parsed = tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a statement, or beyond a mistake
        for path in _paths(parsed):
            if path not in known:
                known.add(path)
                found[path] = statement
        statement = number + 1
    return found


def _is_blank(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _paths(table: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    for key, value in table.items():
        path = (*above, key)
        yield path
        if isinstance(value, Mapping):
            yield from _paths(value, path)
