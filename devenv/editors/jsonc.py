"""Puts an object into an array of a JSON file with comments, as editors keep them, and leaves all else as it is."""

from __future__ import annotations

import json
import re
from typing import Any

_SKIPPED = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_TRAILING_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[\]}])', re.DOTALL)


class NotJson(ValueError):
    """The text is no JSON with comments, or has no such array."""


def put_into_array(text: str, key: str, item: dict[str, Any], *, by: str) -> str:
    """The text with the object in the array: in place of the one that has the same value for `by`, else as the first.

    Args:
        text: JSON, with `//` and `/* */` comments and commas before a closing bracket.
        key: of the array in the outermost object; "" where the text is the array itself.
        item: the object.
        by: its key that names it.

    Raises:
        NotJson: the text is none, or has no such array.
    """
    plain = _blanked(_TRAILING_COMMA, _blanked(_SKIPPED, text))
    try:
        whole = json.loads(plain)
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)) from error
    array = whole if not key else whole.get(key) if isinstance(whole, dict) else None
    if not isinstance(array, list):
        raise NotJson(f"it has no list {key!r}" if key else "it is no list")
    start = _start_of_array(plain, key)
    spans = _spans(plain, start, len(array))
    indent = " " * (4 if spans and text[: spans[0][0]].rpartition("\n")[2] == " " * 8 else 2)
    depth = 2 if key else 1
    written = json.dumps(item, indent=indent).replace("\n", "\n" + indent * depth)
    for (first, last), there in zip(spans, array, strict=True):
        if isinstance(there, dict) and there.get(by) == item[by]:
            return text[:first] + written + text[last:]
    after = "," if array else "\n" + indent * (depth - 1)
    return f"{text[:start]}\n{indent * depth}{written}{after}{text[start:]}"


def _blanked(pattern: re.Pattern[str], text: str) -> str:
    """The text with what matches made blanks, strings aside: every position stays."""
    return pattern.sub(lambda found: found[0] if found[0][0] == '"' else re.sub(r"[^\n]", " ", found[0]), text)


def _start_of_array(plain: str, key: str) -> int:
    """The position after the bracket that opens the array."""
    if not key:
        return plain.index("[") + 1
    decoder = json.JSONDecoder()
    position = plain.index("{") + 1
    while True:
        position = _next(plain, position, ",")
        name, position = decoder.raw_decode(plain, position)
        position = _next(plain, position, ":")
        if name == key:
            return position + 1
        _value, position = decoder.raw_decode(plain, position)


def _spans(plain: str, start: int, count: int) -> list[tuple[int, int]]:
    """Where each item of the array begins and ends."""
    decoder = json.JSONDecoder()
    found, position = [], start
    for _ in range(count):
        first = _next(plain, position, ",")
        _item, position = decoder.raw_decode(plain, first)
        found.append((first, position))
    return found


def _next(plain: str, position: int, separator: str) -> int:
    """The position of what follows blanks and a separator."""
    while plain[position].isspace() or plain[position] == separator:
        position += 1
    return position
