"""Errors as RFC 9457 ``application/problem+json``: one table, one shape, every handler."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import structlog
from flask import Flask, Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from lambda_builder.errors import AttemptFailed, FieldProblem, RefusalCode, Refused
from lambda_builder.web import correlation

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:lambda-builder:problem:"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class Kind(NamedTuple):
    """How a refusal looks over HTTP."""

    status: int
    title: str
    retry_after: int | None = None
    """Seconds, where the refusal itself names none."""


KINDS: Mapping[RefusalCode, Kind] = {
    RefusalCode.INVALID_EVENT: Kind(400, "Invalid event"),
    RefusalCode.INVALID_DATA: Kind(400, "Invalid event data"),
    RefusalCode.INVALID_BATCH: Kind(400, "Invalid batch of events"),
    RefusalCode.INVALID_PARAMETER: Kind(400, "Invalid parameter"),
    RefusalCode.UNSUPPORTED_EVENT_TYPE: Kind(400, "Unsupported event type"),
    RefusalCode.BAD_REQUEST: Kind(400, "Bad request"),
    RefusalCode.UNAUTHORIZED: Kind(401, "Unauthorized"),
    RefusalCode.FORBIDDEN: Kind(403, "Forbidden"),
    RefusalCode.NOT_FOUND: Kind(404, "Not found"),
    RefusalCode.METHOD_NOT_ALLOWED: Kind(405, "Method not allowed"),
    RefusalCode.ALREADY_FINISHED: Kind(409, "Build already finished"),
    RefusalCode.AMBIGUOUS: Kind(409, "Several builds match"),
    RefusalCode.NOT_RETRYABLE: Kind(409, "Build not retryable"),
    RefusalCode.BODY_TOO_LARGE: Kind(413, "Body too large"),
    RefusalCode.UNSUPPORTED_FORMAT: Kind(415, "Unsupported event format"),
    RefusalCode.TENANT_LIMIT: Kind(429, "Tenant over its limit", 5),
    RefusalCode.QUEUE_FULL: Kind(503, "Queue full", 60),
    RefusalCode.SHUTTING_DOWN: Kind(503, "Shutting down", 5),
    RefusalCode.NOT_READY: Kind(503, "Not ready", 5),
    RefusalCode.JOURNAL_UNAVAILABLE: Kind(503, "Journal unavailable", 10),
    RefusalCode.ACK_TIMEOUT: Kind(503, "Job not created in time", 5),
    RefusalCode.TOO_MANY_WAITING: Kind(503, "Too many requests waiting", 1),
    RefusalCode.TOO_MANY_STREAMS: Kind(503, "Too many streams", 5),
    RefusalCode.KUBERNETES_UNAVAILABLE: Kind(503, "Kubernetes unavailable", 10),
    RefusalCode.KUBERNETES_REFUSED: Kind(502, "Refused by Kubernetes"),
    RefusalCode.BUILD_FAILED: Kind(503, "Build failed", 60),
    RefusalCode.INTERNAL_ERROR: Kind(500, "Internal error"),
}

_CODES_BY_STATUS: Mapping[int, RefusalCode] = {
    401: RefusalCode.UNAUTHORIZED,
    403: RefusalCode.FORBIDDEN,
    404: RefusalCode.NOT_FOUND,
    405: RefusalCode.METHOD_NOT_ALLOWED,
    413: RefusalCode.BODY_TOO_LARGE,
    415: RefusalCode.UNSUPPORTED_FORMAT,
}


def register(app: Flask) -> None:
    """Answer every error of ``app`` as a problem."""
    app.register_error_handler(Refused, from_refusal)
    app.register_error_handler(AttemptFailed, _from_kubernetes)
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(Exception, _from_bug)


def from_refusal(refused: Refused) -> Response:
    """Answer what was refused."""
    response = problem(
        refused.code, refused.detail, errors=refused.errors, retry_after=refused.retry_after
    )
    if refused.code is RefusalCode.SHUTTING_DOWN:
        response.headers["Connection"] = "close"
    return response


def body(
    code: RefusalCode,
    detail: str,
    *,
    correlation_id: str | None,
    status: int | None = None,
    errors: Sequence[FieldProblem] = (),
) -> dict[str, Any]:
    """Return a problem's fields; ``status`` differs from the code's own only for odd HTTP errors."""
    kind = KINDS[code]
    return {
        "type": TYPE_PREFIX + code.value,
        "title": kind.title,
        "status": status or kind.status,
        "detail": detail,
        "code": code.value,
        "correlation_id": correlation_id,
        "errors": [{"field": e.field, "message": e.message} for e in errors] or None,
    }


def problem(
    code: RefusalCode,
    detail: str,
    *,
    status: int | None = None,
    errors: Sequence[FieldProblem] = (),
    retry_after: int | None = None,
) -> Response:
    """Return a problem answer, with ``body``'s fields."""
    fields = body(code, detail, status=status, correlation_id=correlation.current(), errors=errors)
    response = Response(json.dumps(fields) + "\n", fields["status"], content_type=MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    seconds = KINDS[code].retry_after if retry_after is None else retry_after
    if seconds is not None:
        response.headers["Retry-After"] = str(max(1, seconds))
    return response


def allow(methods: Iterable[str]) -> str:
    """Return the value of ``Allow``, always in the same order."""
    known = set(methods)
    return ", ".join(method for method in _METHODS if method in known)


def _from_kubernetes(error: AttemptFailed) -> Response:
    detail = f"Kubernetes did not do it ({error.reason.value}), please retry later"
    return problem(RefusalCode.KUBERNETES_UNAVAILABLE, detail)


def _from_http(error: HTTPException) -> Response | HTTPException:
    status = error.code
    if status is None or status < HTTPStatus.BAD_REQUEST:
        return error
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _from_bug(error)
    code = _CODES_BY_STATUS.get(status, RefusalCode.BAD_REQUEST)
    own = error.description if error.description != type(error).description else None
    response = problem(code, own or error.name.lower(), status=status)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = allow(error.valid_methods or ())
    return response


def _from_bug(error: Exception) -> Response:
    structlog.get_logger().error(
        "request_crashed", correlation_id=correlation.current(), exc_info=error
    )
    return problem(RefusalCode.INTERNAL_ERROR, "internal error, see the log")
