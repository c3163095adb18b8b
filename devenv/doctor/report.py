"""One file about an environment to attach to an issue: findings, versions, settings, last log lines; no secrets."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from devenv import __version__
from devenv.doctor.check import Result
from devenv.errors import DevenvError

if TYPE_CHECKING:
    from devenv.backends.base import Backend
    from devenv.project import Project

_LOG_LINES = 60
_SECRET_WORDS = ("password", "secret", "token", "key", "credential", "build_arguments", "annotations")


def report_text(
    results: Sequence[Result],
    project: Project | None,
    backend: Backend | None,
    *,
    home: Path,
    scrub: Callable[[str], str],
) -> str:
    """The text of the report.

    Args:
        results: of the checks.
        project: for its settings.
        backend: for the last lines of the components' logs.
        home: the user's folder, which is written as ~.
        scrub: takes known secrets out.
    """
    machine = f"{platform.system()} {platform.release()} {platform.machine()}"
    versions = f"devenv {__version__}, Python {platform.python_version()}, {machine}"
    lines = [
        "# devenv doctor",
        "",
        f"{versions}, {time.strftime('%Y-%m-%d %H:%M:%S %z')}",
        "",
        "## Findings",
        "",
    ]
    for result in results:
        finding = result.finding
        lines.append(f"- {finding.level}: {result.check.title}: {finding.cause} ({result.seconds:.2f} s)")
        if finding.remedy:
            lines.append(f"  - remedy: {finding.remedy}")
        lines += [f"      {line}" for line in finding.detail.splitlines()[-40:]]
    if project is not None:
        settings = _masked(project.settings.model_dump(mode="json", exclude_defaults=True))
        lines += ["", "## Settings that differ from the defaults", "", "```json", json.dumps(settings, indent=2), "```"]
    if backend is not None:
        lines += ["", "## Last log lines", "", "```", *_log_lines(backend), "```"]
    text = scrub("\n".join(lines) + "\n")
    return text.replace(str(home), "~") if len(home.parts) > 1 else text


def _masked(value: object, name: str = "") -> object:
    """The settings, without values under names that sound secret."""
    if isinstance(value, dict):
        return {key: _masked(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, name) for item in value]
    return "***" if isinstance(value, str) and any(word in name.lower() for word in _SECRET_WORDS) else value


def _log_lines(backend: Backend) -> Iterable[str]:
    from devenv.backends.base import LogQuery

    try:
        found = list(backend.logs(LogQuery(since_seconds=3600, tail=_LOG_LINES)))
    except DevenvError as error:
        return [f"(no logs: {error.message})"]
    return [f"{time.strftime('%H:%M:%S', time.gmtime(line.time))} {line.component} {line.text}" for line in found]
