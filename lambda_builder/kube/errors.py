"""Answers of the Kubernetes API that are no success, and no answer at all, as our errors.

Pure. The rules follow the API conventions and what the API server really writes: bodies of API
Priority and Fairness (429) and of load balancers are plain text, and quota and webhooks share
their ``reason`` with unrelated refusals, so that only the message tells them apart.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import urllib3.exceptions
from kubernetes.config import ConfigException

from lambda_builder.errors import AttemptFailed, FailureReason, Permanent, Transient, Unreachable

LONGEST_RETRY_AFTER = 3600.0
"""Seconds; a longer ``Retry-After`` is taken as this."""
_LONGEST_MESSAGE = 500
_WEBHOOK_DENIED = "denied the request"
_WEBHOOK_FAILED = "failed calling webhook"
_QUOTA = "exceeded quota"


class NotFound(Permanent):
    """404: no such object, or no such namespace."""


class Conflict(Transient):
    """409: the object exists already, is being deleted, or is not the one that was meant."""


class Gone(Transient):
    """410: the resource version or the list's continuation is too old; list again."""


def translate(
    operation: str, status: int, headers: Mapping[str, str], body: bytes, *, now: float
) -> AttemptFailed:
    """Return the error that an answer with ``status`` means; ``now`` in seconds since the epoch."""
    message = _message(body)
    text = f"{operation}: HTTP {status}: {message}" if message else f"{operation}: HTTP {status}"
    retry_after = parse_retry_after(headers.get("Retry-After"), now=now)
    by_message = _by_message(status, message)
    if by_message is not None:
        kind, reason = by_message
        if issubclass(kind, Transient):
            return kind(reason, text, retry_after=retry_after)
        return kind(reason, text)
    return _by_status(status, text, retry_after)


def _by_message(
    status: int, message: str
) -> tuple[type[Transient] | type[Permanent], FailureReason] | None:
    # A webhook's own words follow the API server's, so the first of the two phrases counts.
    denied, failed = message.find(_WEBHOOK_DENIED), message.find(_WEBHOOK_FAILED)
    if failed >= 0 and (denied < 0 or failed < denied):
        return Transient, FailureReason.WEBHOOK_UNAVAILABLE
    if denied >= 0:
        return Permanent, FailureReason.WEBHOOK_DENIED
    if status == 403 and _QUOTA in message:
        return Transient, FailureReason.QUOTA_EXCEEDED
    return None


def _by_status(status: int, text: str, retry_after: float | None) -> AttemptFailed:
    if status in _PERMANENT:
        return Permanent(_PERMANENT[status], text)
    if status == 404:
        return NotFound(FailureReason.NAMESPACE_NOT_FOUND, text)
    if status == 409:
        return Conflict(FailureReason.API_ERROR, text, retry_after=retry_after)
    if status == 410:
        return Gone(FailureReason.API_ERROR, text, retry_after=retry_after)
    if status == 429:
        return Transient(FailureReason.RATE_LIMITED, text, retry_after=retry_after)
    if status == 408:
        return Transient(FailureReason.TIMEOUT, text, retry_after=retry_after)
    if status in (502, 503, 504):
        # Often a load balancer that has no API server behind it: a probe has to tell.
        return Unreachable(FailureReason.SERVER_ERROR, text, retry_after=retry_after)
    if status >= 500:
        return Transient(FailureReason.SERVER_ERROR, text, retry_after=retry_after)
    return Permanent(FailureReason.API_ERROR, text)


_PERMANENT = {
    400: FailureReason.BAD_REQUEST,
    401: FailureReason.UNAUTHORIZED,
    403: FailureReason.FORBIDDEN,
    413: FailureReason.INVALID_MANIFEST,
    422: FailureReason.INVALID_MANIFEST,
}


def _message(body: bytes) -> str:
    """Return the ``message`` of a ``Status``, else the text as it is, on one line and short."""
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    message = value.get("message") if isinstance(value, dict) else None
    if not isinstance(message, str):
        message = body[: 4 * _LONGEST_MESSAGE].decode("utf-8", "replace")
    return shorten(message)


def shorten(message: str, longest: int = _LONGEST_MESSAGE) -> str:
    """Return ``message`` on one line of at most ``longest`` characters."""
    message = " ".join(message.split())
    return message if len(message) <= longest else message[: longest - 1] + "…"


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for (RFC 9110, 10.2.3).

    Both forms, seconds and an HTTP date; what is neither is None.
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value, now)
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _seconds_until(date: str, now: float) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime.fromtimestamp(now, UTC)).total_seconds()


# ConfigException is what the client makes of a token file that is gone.
CONNECTION_ERRORS = (urllib3.exceptions.HTTPError, OSError, ConfigException)
_TIMEOUTS = (urllib3.exceptions.TimeoutError, TimeoutError)
# A refused connection, which urllib3 takes for a kind of timeout.
_REFUSED = urllib3.exceptions.NewConnectionError


def unreachable(operation: str, error: BaseException) -> Unreachable:
    """Return the error that a connection failure of ``operation`` means."""
    if isinstance(error, _TIMEOUTS) and not isinstance(error, _REFUSED):
        return Unreachable(
            FailureReason.TIMEOUT, f"{operation}: no answer in time: {_cause(error)}"
        )
    return Unreachable(FailureReason.CONNECTION, f"{operation}: no answer: {_cause(error)}")


def _cause(error: BaseException) -> str:
    # urllib3 puts the pool or connection, with its address in memory, in front.
    text = shorten(str(error))
    return text.rpartition(">: ")[2] if ">: " in text else text or type(error).__name__
