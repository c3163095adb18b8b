"""Keeps known secrets out of what is shown: Vault's own log prints its root token, a task prints its environment."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator

_SHORTEST = 5
"""Shorter values stand in ordinary words, and replacing them would say more than it hides."""

_SECRET_FIELDS = ("password", "extra")
"""Of a connection that is written as JSON (Airflow 2.3 and later)."""

MASK = "***"


class Scrubber:
    """Replaces known values in text, as they are and in the forms in which they travel.

    Those are base64 (a Kubernetes Secret), percent-encoding in either case (a connection's URI) and JSON's escapes.
    A connection's password is a value of its own.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        """Takes the secret values; those shorter than 5 characters are left alone."""
        forms: set[str] = set()
        for value in {part for given in values for part in (given, *_passwords(given))}:
            if len(value) < _SHORTEST:
                continue
            quoted = (
                urllib.parse.quote(value, safe="", errors="surrogateescape"),
                urllib.parse.quote(value, safe="/", errors="surrogateescape"),
                urllib.parse.quote_plus(value, errors="surrogateescape"),
            )
            forms.update((value, value.strip(), *quoted, *map(_lower_hex, quoted)))
            forms.update((json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]))
            forms.add(value.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))  # as output shows it
            for text in (value, value + "\n"):
                encoded = base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()
                forms.update((encoded, encoded.rstrip("="), encoded.replace("+", "-").replace("/", "_")))
            forms.update(line for line in value.splitlines() if len(line) >= _SHORTEST)  # a key of several lines
        longest_first = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def of_bytes(self, data: bytes) -> bytes:
        """As a call, for bytes that need not be text."""
        return self(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def __call__(self, text: str) -> str:
        """The text with every known value replaced by `***`."""
        return self._pattern.sub(MASK, text) if self._pattern is not None else text


def _lower_hex(quoted: str) -> str:
    """`%2F` as `%2f`, which other programs write."""
    return re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)


def _passwords(value: str) -> Iterator[str]:
    """The passwords in a connection: of its URI, or in its JSON."""
    if "://" in value:
        with contextlib.suppress(ValueError):
            password = urllib.parse.urlsplit(value).password
            if password:
                yield password
                yield urllib.parse.unquote(password, errors="surrogateescape")
    elif value.lstrip().startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):
            raw = json.loads(value)
            if isinstance(raw, dict):
                yield from (text for name, text in raw.items() if name in _SECRET_FIELDS and isinstance(text, str))
