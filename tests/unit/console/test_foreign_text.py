"""Text that is not ours: nothing that a terminal acts on leaves by any door."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from devenv.console.json_lines import JsonLines
from devenv.console.render import Renderer
from devenv.foreign_text import UNSAFE, clean, json_safe, visible

HOSTILE = {
    "a window's title": "a\x1b]0;owned\x07b",
    "a colour": "\x1b[31mred",
    "C1": "\x9b31m\x85",
    "a carriage return": "good\rbad",
    "right to left": "dags/\u202eyp.lave\u2069",
    "a lone surrogate": "caf\udce9.py",
    "zero width": "du\u200bp\ufeff",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_each_door(text: str) -> None:
    (shown,) = Renderer(80, unicode=True).final([Text(text)])
    assert not UNSAFE.search(shown.plain)
    assert len(shown.plain) == len(Text(text).plain)
    assert not UNSAFE.search(clean(text))
    stream = io.StringIO()
    JsonLines(stream, lambda: 0.0, lambda: None).record("devenv.test", {"text": text})
    assert not UNSAFE.search(stream.getvalue().rstrip("\n"))
    assert json.loads(stream.getvalue())["data"]["text"] == text
    stream.getvalue().encode()


def test_a_bomb_of_text_is_bounded() -> None:
    assert len(clean("x" * 1_000_000)) == 20_000


@given(st.text(st.characters()))
def test_any_text(text: str) -> None:
    assert not UNSAFE.search(visible(text))
    visible(text).encode()
    clean(text).encode()
    assert json.loads(json_safe(json.dumps(text, ensure_ascii=False))) == text
