"""Numbers as a person reads them."""

from __future__ import annotations


def elapsed(seconds: float) -> str:
    """`0.42s`, `12.30s`, `2m 05s`, `1h 02m`: as cargo writes how long something took."""
    if seconds < 59.995:
        return f"{seconds:.2f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def milliseconds(value: float) -> str:
    """`4.1 ms`, `38 ms`, `1.24 s`, `2m 05s`."""
    if value < 9.95:
        return f"{value:.1f} ms"
    if value < 999.5:
        return f"{value:.0f} ms"
    return f"{value / 1000:.2f} s" if value < 59_995 else elapsed(value / 1000)


def size(count: int) -> str:
    """`512 B`, `20.5 kB`, `1.2 MB`: powers of a thousand, as in a file manager."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def plural(count: int, noun: str) -> str:
    """`1 file`, `3 files`."""
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def names(items: tuple[str, ...], limit: int = 4) -> str:
    """`a, b, c`, and how many more there are."""
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"
