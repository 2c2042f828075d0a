"""Logs: one line per event, JSON or for a console, with the trace it belongs to."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from lambda_builder.jsontext import dump_ascii
from lambda_builder.telemetry.tracing import current_trace_id

_TRACEBACKS = structlog.processors.ExceptionRenderer(
    # Without local variables: those hold build arguments, and build arguments hold secrets.
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)
_REPEAT_US = ("urllib3", "psycopg", "psycopg_pool")
"""Loggers that say at warning level what our own lines and errors say better."""


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    trace_id = current_trace_id()
    if trace_id and "trace_id" not in event:
        event["trace_id"] = trace_id
    return event


class _Lines:
    """Writes whole lines from any thread, and loses them where the stream takes none."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        """Write one line; a full disk or a closed pipe must not cost anybody a build."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = msg


def configure(*, json_lines: bool, level: str, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's logs to ``stream`` (standard output).

    Ours do not go through the standard library, which would take more than twice as long: three
    lines for each build are a tenth of its cost.
    """
    output = stream or sys.stdout
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    renderer: list[Any] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer(dump_ascii)]
        if json_lines
        else [
            structlog.dev.ConsoleRenderer(
                colors=output.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    lines = _Lines(output)
    _use_standard_library(logging.StreamHandler(output), shared, renderer, level.upper())
    structlog.configure(
        processors=[*shared, *renderer],
        logger_factory=lambda *_: lines,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )


def _use_standard_library(
    handler: logging.Handler, shared: list[Any], renderer: list[Any], level: str
) -> None:
    """Give the lines of gunicorn and other libraries the same form."""
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _REPEAT_US:
        logging.getLogger(name).setLevel(logging.ERROR)
