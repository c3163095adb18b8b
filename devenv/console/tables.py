"""Tables without lines: headings, and columns as wide as they need and the terminal allows."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

Cell = str | Text

_GAP = "  "
_LEAST = 8


def table(columns: Iterable[str], rows: Iterable[Iterable[Cell]], width: int) -> list[Text]:
    """The lines of a table, the headings first; no rows make no lines.

    Args:
        columns: headings.
        rows: cells, as many per row as there are headings.
        width: columns of the terminal; the widest column gives way first, down to eight, and the first column, which
            says what a row is about, only after all others.
    """
    body = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    if not body:
        return []
    head = [Text(title.upper(), "dim") for title in columns]
    lines = [head, *body]
    widths = [max(line[index].cell_len for line in lines) for index in range(len(head))]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > width and max(widths) > _LEAST:
        others = max(widths[1:], default=0)
        widest = widths.index(others, 1) if others > _LEAST else 0
        widths[widest] -= 1
    return [_line(line, widths) for line in lines]


def _line(cells: list[Text], widths: list[int]) -> Text:
    line = Text()
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        fitted = cell.copy()
        fitted.truncate(width, overflow="ellipsis", pad=True)
        line.append_text(fitted)
        if index < len(cells) - 1:
            line.append(_GAP)
    line.rstrip()
    return line
