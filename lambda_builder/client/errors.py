"""What goes wrong between a client and the service, each in one sentence."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Any

import requests

_OF_PROXIES = frozenset({502, 503, 504})


class ClientError(Exception):
    """Root of every error that the client raises on purpose."""


class Unreachable(ClientError):
    """Nobody answers at the address, or the answer broke off; it may be another time."""


class NotTheService(ClientError):
    """The address is none, or whoever answers there is not lambda-builder."""


class Problem(ClientError):
    """The service refuses: ``code`` is stable (docs/http-api.rst), ``detail`` says why."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        correlation_id: str | None = None,
        errors: Sequence[tuple[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        """``errors`` are fields with what is wrong with each; ``retry_after`` is in seconds."""
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.correlation_id = correlation_id
        self.errors = tuple(errors)
        self.retry_after = retry_after


class StillGoing(ClientError):
    """A build that was waited for has not ended in time."""


def problem_of(url: str, answer: requests.Response) -> ClientError:
    """Return what an answer other than 2xx of the service at ``url`` says.

    A proxy's own 502 to 504 (RFC 9110, 15.6) means that the service is not to be reached now.
    """
    try:
        told: dict[str, Any] = answer.json()
        errors = [(each["field"], each["message"]) for each in told.get("errors") or ()]
        return Problem(
            answer.status_code,
            told["code"],
            told["detail"],
            correlation_id=told.get("correlation_id"),
            errors=errors,
            retry_after=_seconds(answer.headers.get("Retry-After", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        if answer.status_code in _OF_PROXIES:
            return Unreachable(f"a proxy at {url} answered {answer.status_code} for the service")
        return something_else(url, answer)


def something_else(url: str, answer: requests.Response) -> NotTheService:
    """Return that such an answer is not the service's."""
    return NotTheService(f"{url} answered {answer.status_code}, but not as lambda-builder does")


def failure_of(url: str, seconds: float, error: requests.RequestException) -> ClientError:
    """Return why a request to ``url`` had no answer; ``seconds`` is how long it was waited for."""
    if isinstance(error, ValueError):
        return NotTheService(f"{url!r} is not the address of a service")
    if isinstance(error, requests.Timeout):
        return Unreachable(f"{url} has not answered within {seconds:g} seconds")
    if reason := _reason(error):
        return Unreachable(f"{url} does not answer ({reason})")
    return Unreachable(f"{url} broke off before its answer was complete")


def _reason(error: BaseException) -> str:
    """Return the system's own words for why nobody was reached; empty if somebody was."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return f"TLS: {cause.reason.replace('_', ' ').lower()}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return ""


def _seconds(value: str) -> float | None:
    return float(value) if value.isascii() and value.isdigit() else None
