"""Keeps known secrets out of what is shown: Vault's own log prints its root token, a task prints its environment."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from collections.abc import Iterable

_SHORTEST = 5
"""Shorter values stand in ordinary words, and replacing them would say more than it hides."""

MASK = "***"


class Scrubber:
    """Replaces known values in text, as they are and in the forms in which they travel.

    Those are base64 (a Kubernetes Secret), percent-encoding (a connection's URI) and JSON's escapes.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        """Takes the secret values; those shorter than 5 characters are left alone."""
        forms: set[str] = set()
        for value in values:
            if len(value) < _SHORTEST:
                continue
            quoted = (
                urllib.parse.quote(value, safe="", errors="replace"),
                urllib.parse.quote_plus(value, errors="replace"),
            )
            forms.update((value, value.strip(), *quoted))
            forms.add(json.dumps(value)[1:-1])
            for text in (value, value + "\n"):
                encoded = base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()
                forms.update((encoded, encoded.rstrip("="), encoded.replace("+", "-").replace("/", "_")))
            forms.update(line for line in value.splitlines() if len(line) >= _SHORTEST)  # a key of several lines
        longest_first = sorted((form for form in forms if len(form) >= _SHORTEST), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """The text with every known value replaced by `***`."""
        return self._pattern.sub(MASK, text) if self._pattern is not None else text
