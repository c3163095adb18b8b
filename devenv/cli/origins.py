"""What is taken from a repository that was laid out for something else, in lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from devenv.cli.context import console

if TYPE_CHECKING:
    from devenv.origins.found import Found, NotTaken

_SHOWN = 5


def taken(found: Sequence[Found]) -> Iterator[str]:
    """One line for each setting, and one for all variables of one file."""
    variables: dict[str, list[str]] = {}
    for one in found:
        if one.path[0] == "environment":
            variables.setdefault(one.source, []).append(one.path[1])
            continue
        value = ", ".join(one.value) if isinstance(one.value, tuple) else one.value
        yield f"{'.'.join(one.path)} is {value}, by {one.source}"
    for source, names in variables.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"{source} sets {', '.join(names[:_SHOWN])}{more} for DAGs"


def print_not_taken(not_taken: Sequence[NotTaken]) -> None:
    """What devenv does not take over, each with what to do instead."""
    out = console()
    for one in not_taken:
        where = f"{one.source}: " if one.source else ""
        out.print(f"not taken over: {where}{one.what}", f"  → {one.hint}")
        out.record("origin.left", {"what": one.what, "source": one.source, "hint": one.hint})
