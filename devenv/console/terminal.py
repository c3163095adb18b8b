"""What one output stream can show: each of standard output and standard error decides for itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console

PLAIN_WIDTH = 10_000
"""Where nothing is a terminal nothing is wrapped or cut: a file and a pipe have no width."""


@dataclass(frozen=True)
class Terminal:
    """A stream, and what may be written to it.

    Attributes:
        stream: where the text goes.
        interactive: a terminal that can move its cursor: spinners, questions.
        color: escape codes for colours may be written.
        unicode: it takes more than ASCII.
        variables: environment variables (`COLUMNS`, `TERM`).
    """

    stream: TextIO
    interactive: bool
    color: bool
    unicode: bool
    variables: Mapping[str, str]

    @classmethod
    def of(cls, stream: TextIO, variables: Mapping[str, str], *, color: bool = True) -> Terminal:
        """What this stream can do.

        Colours need a terminal, `TERM` other than `dumb`, no `NO_COLOR` (https://no-color.org: any text but the empty
        one) and no `--no-color`.
        """
        is_terminal = _is_terminal(stream)
        dumb = variables.get("TERM") in ("dumb", "unknown")
        return cls(
            stream=stream,
            interactive=is_terminal and not dumb,
            color=color and is_terminal and not dumb and not variables.get("NO_COLOR"),
            unicode=(getattr(stream, "encoding", None) or "utf-8").lower().replace("-", "") in ("utf8", "utf16"),
            variables=variables,
        )

    def console(self) -> Console:
        """A rich console that writes here and decides nothing by itself."""
        columns = self.variables.get("COLUMNS", "")
        width = int(columns) if columns.isdigit() and int(columns) > 0 else None
        return Console(
            file=self.stream,
            force_terminal=self.interactive,
            force_interactive=self.interactive,
            color_system="auto" if self.color else None,
            no_color=not self.color,
            width=width if width is not None or self.interactive else PLAIN_WIDTH,
            markup=False,
            highlight=False,
            emoji=False,
            legacy_windows=False,
            _environ=self.variables,
        )


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False
