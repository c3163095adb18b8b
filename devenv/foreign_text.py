"""Text that is not ours (file names, DAG ids, output of programs) made safe to show: one character for one.

What a terminal acts on, what turns the direction of reading around, and what is no Unicode text at all is replaced.
"""

from __future__ import annotations

import re

# C0 but tab and newline, DEL and C1; marks that reorder or hide text (Unicode TR36 and TR39); lone surrogates.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_REPLACEMENT = "\ufffd"


def visible(text: str) -> str:
    """The text with a replacement character for each character that is not to reach a terminal."""
    return UNSAFE.sub(_REPLACEMENT, text)


def clean(text: object, limit: int = 20_000) -> str:
    """Text from elsewhere without terminal escapes and other unsafe characters, of at most `limit` characters."""
    cleaned = UNSAFE.sub("", _ESCAPE_SEQUENCE.sub("", str(text)))
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def json_safe(text: str) -> str:
    """JSON text in which unsafe characters are escaped; what it means stays the same."""
    return UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
