"""Builds and messages as rows of the journal, and back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import structlog

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    CommandRequest,
    FailureCategory,
)
from lambda_builder.journal.values import OutboxMessage
from lambda_builder.jsontext import dump_ascii

Row = tuple[Any, ...]

_IN_COLUMNS = ("request", "state", "attempts", "error")
_OUTCOME_FIELDS = tuple(
    field.name for field in fields(BuildResult) if field.name not in _IN_COLUMNS
)

RESULT_COLUMNS = "request, attempts, state, outcome"
"""What ``result_of`` reads."""
MESSAGE_COLUMNS = "destination, key, headers, body, id, attempts"
"""What ``message_of`` reads."""


class Unreadable(Exception):
    """A row that holds nothing of any version known here."""


@contextlib.contextmanager
def tolerance(**context: Any) -> Iterator[None]:
    """Log a row that cannot be read and go on without it."""
    try:
        yield
    except Unreadable as error:
        structlog.get_logger().error("journal_row_unreadable", error=str(error), **context)


def plain(text: str) -> str:
    """Return ``text`` as every database can hold it: lone surrogates and NUL are spelled out."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text.replace("\0", "\\x00")


def request_row(request: BuildRequest) -> Row:
    """Return (event_hash, job_name, correlation_id, request, accepted_at)."""
    return (
        plain(request.event_hash),
        plain(request.job_name),
        plain(request.correlation_id),
        request.to_json().encode("utf-8", "surrogatepass"),
        request.accepted_at,
    )


def result_row(result: BuildResult, settled_at: float) -> Row:
    """Return (event_hash, job_name, correlation_id, request, attempts, state, outcome,
    accepted_at, settled_at).
    """
    event_hash, name, *request, accepted_at = request_row(result.request)
    return (
        event_hash,
        "" if result.skipped else name,  # which is another's, and finds that
        *request,
        result.attempts,
        result.state.value,
        outcome_text(result),
        accepted_at,
        settled_at,
    )


def outcome_text(result: BuildResult) -> bytes:
    """Return what ``result_of`` reads of an outcome beside its columns."""
    outcome = {name: getattr(result, name) for name in _OUTCOME_FIELDS}
    if result.error is not None:
        outcome["error"] = [result.error.code, result.error.message]
        outcome["category"] = result.error.category
    return dump_ascii(outcome).encode("ascii")


def request_of(text: bytes) -> BuildRequest:
    """Read a request; raises ``Unreadable``."""
    try:
        return BuildRequest.from_json(text)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(f"request: {error!r}") from error


def result_of(row: Sequence[Any]) -> BuildResult:
    """Read ``RESULT_COLUMNS``; raises ``Unreadable``."""
    text, attempts, state, outcome = row
    request = request_of(text)
    try:
        fields = {} if outcome is None else json.loads(outcome)
        error = fields.pop("error", None)
        return BuildResult(
            request=request,
            state=BuildState(state),
            attempts=attempts,
            error=None if error is None else _error_of(error, fields.get("category")),
            **{name: fields[name] for name in _OUTCOME_FIELDS if name in fields},
        )
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"outcome: {error!r}") from error


def _error_of(error: Sequence[str], category: str | None) -> BuildError:
    code, message = error
    return BuildError(code, message, None if category is None else FailureCategory(category))


def command_row(request: CommandRequest) -> Row:
    """Return (event_hash, request)."""
    return plain(request.event_hash), request.to_json().encode("utf-8", "surrogatepass")


def command_of(text: bytes) -> CommandRequest:
    """Read a command's request; raises ``Unreadable``."""
    try:
        return CommandRequest.from_json(text)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"command: {error!r}") from error


def message_row(message: OutboxMessage) -> Row:
    """Return (id, destination, key, headers, body)."""
    return (
        plain(message.id),
        message.destination,
        plain(message.key),
        dump_ascii(dict(message.headers)).encode("ascii"),
        message.body,
    )


def message_of(row: Sequence[Any]) -> OutboxMessage:
    """Read ``MESSAGE_COLUMNS``; raises ``Unreadable``."""
    destination, key, headers, body, message_id, attempts = row
    try:
        fields = json.loads(headers)
        if not isinstance(fields, dict):
            raise TypeError("headers are not an object")
    except (ValueError, TypeError, RecursionError) as error:
        raise Unreadable(f"headers: {error!r}") from error
    return OutboxMessage(destination, key, fields, body, message_id, attempts)
