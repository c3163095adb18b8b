"""How far back `--since` looks."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from devenv.errors import UsageError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


class SinceInvalid(UsageError):
    """`--since` takes a span of time (`30s`, `10m`, `1h30m`, `2d`) or a moment (`2026-11-22T06:30`, in UTC)."""

    code = "DEVENV-801"


def since_seconds(text: str, now: float) -> float:
    """The seconds between a span or a moment and now.

    Args:
        text: `30s`, `10m`, `1h30m`, `2d`, `1w`, or a moment in ISO 8601, UTC where it names no zone.
        now: seconds since the epoch.

    Raises:
        SinceInvalid: it is neither, or a moment to come.
    """
    text = text.strip()
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise SinceInvalid(f"{text!r} is no span of time", hint="--since 10m; also 30s, 1h30m, 2d") from None
    if not moment.tzinfo:
        moment = moment.replace(tzinfo=timezone.utc)
    if moment.timestamp() > now:
        raise SinceInvalid(f"{text} is in the future", hint="--since 10m")
    return now - moment.timestamp()
