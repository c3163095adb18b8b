"""What a check is, and how a list of them is run."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from devenv.cluster.errors import AccessDenied
from devenv.errors import DevenvError
from devenv.foreign_text import clean

Level = Literal["ok", "warning", "failure", "skipped"]

_SECONDS = 15.0


@dataclass(frozen=True)
class Fix:
    """What `--fix` may do without losing anything.

    Attributes:
        title: what it does, for a person: "delete the pod scheduler-0, which is then made anew".
        apply: does it; raises a `DevenvError` when it cannot.
    """

    title: str
    apply: Callable[[], None]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        level: how bad it is; a failure keeps the environment from working, a warning may.
        cause: what is so, in one sentence; for `ok` a few words.
        remedy: the next command or thing to do, "" where none is needed.
        detail: output or log lines that back it.
        fix: what `--fix` does.
    """

    level: Level
    cause: str
    remedy: str = ""
    detail: str = ""
    fix: Fix | None = None


def ok(cause: str) -> Finding:
    """All is well."""
    return Finding("ok", cause)


def warning(cause: str, remedy: str = "", *, detail: str = "", fix: Fix | None = None) -> Finding:
    """It may do harm, or makes something slow."""
    return Finding("warning", cause, remedy, detail, fix)


def failure(cause: str, remedy: str = "", *, detail: str = "", fix: Fix | None = None) -> Finding:
    """It keeps the environment from working."""
    return Finding("failure", cause, remedy, detail, fix)


def skipped(cause: str) -> Finding:
    """It was not looked at, and why."""
    return Finding("skipped", cause)


@dataclass(frozen=True)
class Check:
    """One thing to look at.

    Attributes:
        name: short and stable, for JSON and `needs`.
        title: for a person: "Docker".
        run: looks; a `DevenvError` that it raises is the finding.
        needs: checks that must not fail for this one to make sense.
        seconds: how long it may take.
    """

    name: str
    title: str
    run: Callable[[], Finding]
    needs: tuple[str, ...] = ()
    seconds: float = _SECONDS


@dataclass(frozen=True)
class Result:
    """A check and what it found.

    Attributes:
        check: what was looked at.
        finding: what was found.
        seconds: how long it took.
        ran: False where it was not looked at because a check that it needs failed.
    """

    check: Check
    finding: Finding
    seconds: float
    ran: bool = True


def diagnose(checks: Sequence[Check], told: Callable[[Result], None] = lambda _result: None) -> list[Result]:
    """Runs checks at the same time, each after those that it needs, and bounded; returns them in their order.

    Args:
        checks: what to look at; a check that needs another stands after it.
        told: is given each result in the order of the list, as soon as it and those before it are known.
    """
    done = {check.name: threading.Event() for check in checks}
    results: dict[str, Result] = {}

    def follow(check: Check) -> None:
        for name in check.needs:
            if name in done:
                done[name].wait()
        failed = [results[name] for name in check.needs if name in results and _stops(results[name])]
        if failed:
            first = failed[0]
            why = first.finding.cause if first.finding.level == "skipped" else f"{first.check.title} comes first"
            results[check.name] = Result(check, skipped(why), 0.0, ran=False)
        else:
            results[check.name] = _bounded(check)
        done[check.name].set()

    for check in checks:
        threading.Thread(target=follow, args=(check,), name=f"doctor-{check.name}", daemon=True).start()
    found: list[Result] = []
    for check in checks:
        done[check.name].wait()
        found.append(results[check.name])
        told(found[-1])
    return found


def _stops(result: Result) -> bool:
    return result.finding.level in ("failure", "skipped")


def _bounded(check: Check) -> Result:
    """Runs a check in a thread that is left behind when it takes too long."""
    began = time.monotonic()
    found: list[Finding] = []
    thread = threading.Thread(target=lambda: found.append(_run(check)), name=f"doctor-{check.name}-run", daemon=True)
    thread.start()
    thread.join(check.seconds)
    finding = found[0] if found else failure(f"no answer within {check.seconds:.0f} s", "devenv doctor, once more")
    return Result(check, finding, time.monotonic() - began)


def _run(check: Check) -> Finding:
    try:
        return check.run()
    except AccessDenied as error:
        # An account may be administrator of a namespace without a right to see nodes.
        kind = warning if error.status == 403 else failure
        return kind(error.message, error.hint or "", detail=error.detail or "")
    except DevenvError as error:
        return failure(error.message, error.hint or "", detail=error.detail or "")
    except Exception as error:  # noqa: BLE001 (one check that is broken must not hide the others)
        what = clean(f"{type(error).__name__}: {error}", 500)
        return warning(f"the check itself failed: {what}", detail=traceback.format_exc()[-3000:])
