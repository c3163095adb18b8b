"""Where a run's log lines go: to its output, the task's own lines first of all, secrets blanked."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import traceback
from typing import Any, Dict, Iterator, List, Optional, Tuple

_LIBRARIES = ("alembic", "sqlalchemy", "urllib3", "httpx", "httpcore", "hvac", "py.warnings", "asyncio")
_OWN_PARTS = ("providers", "operators", "sensors", "hooks", "notifications")
"""Parts of Airflow whose lines are the task's own; those of all others say how Airflow runs the task."""
_AIRFLOW_FOLDER = f"{os.sep}airflow{os.sep}"
_SITE = "-packages"
_LOGGING_PARTS = (
    f"{os.sep}structlog{os.sep}",
    f"_shared{os.sep}logging{os.sep}",
    f"sdk{os.sep}log.py",
    f"{os.sep}logging{os.sep}",
)
_STANDARD = {"event", "level", "logger", "logger_name", "timestamp", "exc_info", "stack_info", "loc", "exception"}


logged: List[BaseException] = []
"""Exceptions that Airflow 3 logged in place of raising them, the latest last."""


def route_structlog() -> None:
    """Passes the events of structlog, by which Airflow 3 logs, on to `logging`; called before its loggers are used."""
    try:
        import structlog
    except ImportError:
        return
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _to_logging],
        logger_factory=_NamedFactory(),
        cache_logger_on_first_use=False,
    )


def log_to_output(*, verbose: bool) -> None:
    """Makes standard output the only place for log lines of this process.

    Args:
        verbose: also those that say how Airflow runs the task.
    """
    handler = _Output(verbose=verbose)
    masker = _masker()
    if masker is not None:
        handler.addFilter(masker)
    for name in (None, *list(logging.root.manager.loggerDict)):
        logger = logging.getLogger(name)
        if name is None or logger.handlers:
            logger.handlers.clear()
            logger.propagate = True
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.INFO)
    route_structlog()


@contextlib.contextmanager
def masked() -> Iterator[None]:
    """What tasks print goes through the same filter as what they log."""
    masker = _masker()
    if masker is None:
        yield
        return
    stream: Any = _Redacted(sys.stdout, masker)
    with contextlib.redirect_stdout(stream):
        yield


class _Output(logging.Handler):
    """Lines as they are shown; the stream is looked up at each line, since tasks replace it."""

    def __init__(self, *, verbose: bool) -> None:
        super().__init__(logging.INFO)
        self._verbose = verbose
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the line, where it is wanted."""
        if record.exc_info and record.exc_info[1] is not None:
            _note(record.exc_info[1])
        if self._verbose or _is_own(record):
            with contextlib.suppress(Exception):
                sys.stdout.write(self.format(record) + "\n")


def _is_own(record: logging.LogRecord) -> bool:
    """Whether a line is the task's own, by the file that logs it."""
    _, site, path = record.pathname.rpartition(_SITE)
    if not site:
        return True
    if not path.startswith(_AIRFLOW_FOLDER):
        return not record.name.startswith(_LIBRARIES)
    return path[len(_AIRFLOW_FOLDER) :].split(os.sep, 1)[0] in _OWN_PARTS


def _note(error: BaseException) -> None:
    logged[:] = [*logged[-9:], error]


class _NamedFactory:
    """Makes loggers for structlog that know their names."""

    def __call__(self, *arguments: Any) -> Any:
        return logging.getLogger(str(arguments[0]) if arguments and arguments[0] else "airflow.structlog")


def _to_logging(logger: Any, method: str, event: Dict[str, Any]) -> Any:
    """The last of structlog's processors: an event as a line of `logging`."""
    import structlog

    name = str(event.pop("logger_name", None) or event.pop("logger", None) or logger.name)
    level = {"warn": "WARNING", "exception": "ERROR"}.get(method, method.upper())
    text = str(event.get("event", ""))
    with contextlib.suppress(Exception):
        text = text % tuple(event.pop("positional_args", ()))
    more = " ".join(f"{key}={value!r}" for key, value in event.items() if key not in _STANDARD)
    number = getattr(logging, level, logging.INFO)
    number = number if isinstance(number, int) else logging.INFO
    text = " ".join(part for part in (text, more, _trace(event)) if part)
    target = logging.getLogger(name)
    file, line = _caller()
    target.handle(target.makeRecord(name, number, file, line, text, (), None))
    raise structlog.DropEvent


def _caller() -> Tuple[str, int]:
    """File and line that logged a structlog event: the first frame outside of the logging itself."""
    frame = sys._getframe(2)  # noqa: SLF001 (as `logging` itself does)
    while frame.f_back is not None and any(part in frame.f_code.co_filename for part in _LOGGING_PARTS):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _trace(event: Dict[str, Any]) -> str:
    found = event.get("exc_info")
    if not found:
        return ""
    error = found[1] if isinstance(found, tuple) else found if isinstance(found, BaseException) else sys.exc_info()[1]
    if error is None:
        return ""
    _note(error)
    return "\n" + "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()


class _Redacted:
    """A stream that blanks Airflow's secrets in what is written to it."""

    def __init__(self, stream: Any, masker: Any) -> None:
        self._stream = stream
        self._masker = masker

    def write(self, text: str) -> int:
        self._stream.write(str(self._masker.redact(text)))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _masker() -> Optional[Any]:
    """Airflow's filter that blanks secrets; where it lives differs between releases."""
    for name in (
        "airflow.sdk._shared.secrets_masker",
        "airflow.sdk.execution_time.secrets_masker",
        "airflow.utils.log.secrets_masker",
    ):
        with contextlib.suppress(Exception):
            return importlib.import_module(name)._secrets_masker()  # noqa: SLF001 (there is no other way to it)
    return None
