"""Task logs in the shapes in which the REST API of each generation gives them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from devenv.foreign_text import clean

_LINE_LIMIT = 4000
_STAMP = re.compile(r"^\[(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4})\] ")
# Fields that say which task this is, which the reader knows, or that are shown otherwise.
_KNOWN_FIELDS = frozenset(
    {"timestamp", "event", "level", "logger", "filename", "lineno", "loc", "error_detail", "chan", "dag_id", "task_id"}
    | {"run_id", "ti_id", "task_instance_id", "try_number", "map_index"}
)


@dataclass(frozen=True)
class TaskLogLine:
    """One line; `time` is 0 where the line has none of its own (a traceback)."""

    text: str
    time: float = 0.0


@dataclass(frozen=True)
class LogChunk:
    """A part of a task's log, and the token with which the next part is asked for ("" after the last)."""

    lines: tuple[TaskLogLine, ...]
    token: str = ""


def read_2(answer: Mapping[str, Any]) -> LogChunk:
    """What `/api/v1` gives: `content` is Python's text of a list of (host, text), so also from 2.7 to 2.11."""
    content = answer.get("content")
    texts: list[str] = []
    if isinstance(content, str):
        try:
            parts = ast.literal_eval(content)
            texts = [str(part[1]) for part in parts]
        except (ValueError, SyntaxError, TypeError, IndexError):
            texts = [content]
    lines = tuple(plain_line(line) for text in texts for line in text.splitlines())
    return LogChunk(lines, str(answer.get("continuation_token") or ""))


def plain_line(line: str) -> TaskLogLine:
    """A line of a log file of 2.x: `[2026-11-22T06:23:57.249+0000] {taskinstance.py:1159} INFO - text`."""
    stamp = _STAMP.match(line)
    at = datetime.strptime(stamp.group(1), "%Y-%m-%dT%H:%M:%S.%f%z").timestamp() if stamp else 0.0
    return TaskLogLine(clean(line, _LINE_LIMIT), at)


def read_3(answer: Mapping[str, Any]) -> LogChunk:
    """What `/api/v2` gives: `content` is a list of structured events, or of lines where they could not be read."""
    content = answer.get("content")
    lines: list[TaskLogLine] = []
    for item in content if isinstance(content, list) else []:
        if isinstance(item, Mapping):
            lines += event_lines(item)
        else:
            lines.append(plain_line(str(item)))
    return LogChunk(tuple(lines), str(answer.get("continuation_token") or ""))


def event_lines(event: Mapping[str, Any]) -> Iterator[TaskLogLine]:
    """An event of a 3.x task log (structlog) as lines, an exception with its frames."""
    at = 0.0
    stamp = ""
    if isinstance(event.get("timestamp"), str):
        try:
            moment = datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00"))
            moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
            at = moment.timestamp()
            stamp = moment.strftime("[%Y-%m-%dT%H:%M:%S.%f")[:-3] + moment.strftime("%z] ")
        except ValueError:
            pass  # a time that cannot be read is no reason to lose the line
    level = f"{str(event['level']).upper()} - " if event.get("level") else ""
    fields = "".join(f" {key}={value}" for key, value in event.items() if key not in _KNOWN_FIELDS)
    first, *rest = str(event.get("event", "")).splitlines() or [""]
    yield TaskLogLine(clean(f"{stamp}{level}{first}{fields}", _LINE_LIMIT), at)
    for line in rest:
        yield TaskLogLine(clean(line, _LINE_LIMIT))
    details = event.get("error_detail")
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, Mapping):
            yield from _exception(detail)


def _exception(detail: Mapping[str, Any]) -> Iterator[TaskLogLine]:
    frames = detail.get("frames")
    if isinstance(frames, list) and frames:
        yield TaskLogLine("Traceback (most recent call last):")
        for frame in frames:
            if isinstance(frame, Mapping):
                where = f'  File "{frame.get("filename")}", line {frame.get("lineno")}, in {frame.get("name")}'
                yield TaskLogLine(clean(where, _LINE_LIMIT))
    for line in f"{detail.get('exc_type')}: {detail.get('exc_value')}".splitlines():
        yield TaskLogLine(clean(line, _LINE_LIMIT))
