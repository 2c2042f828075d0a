"""Every error of a request answered as a problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

import structlog
from flask import Flask, Response
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from lambda_builder import problems
from lambda_builder.errors import AttemptFailed, FieldProblem, RefusalCode, Refused
from lambda_builder.web import correlation
from lambda_builder.web.answers import Answer

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_CODES_BY_STATUS: Mapping[int, RefusalCode] = {
    401: RefusalCode.UNAUTHENTICATED,
    403: RefusalCode.FORBIDDEN,
    404: RefusalCode.NOT_FOUND,
    405: RefusalCode.METHOD_NOT_ALLOWED,
    413: RefusalCode.BODY_TOO_LARGE,
    415: RefusalCode.UNSUPPORTED_FORMAT,
}


def register(app: Flask) -> None:
    """Answer every error of ``app`` as a problem."""
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(Exception, _from_error)


def of_error(error: Exception, correlation_id: str) -> Answer:
    """Answer whatever was raised; what is no refusal is a bug, and goes into the log."""
    if isinstance(error, AttemptFailed):
        error = problems.kubernetes_failed(error, "not done")
    if not isinstance(error, Refused):
        structlog.get_logger().error(
            "request_crashed", correlation_id=correlation_id, exc_info=error
        )
        error = Refused(RefusalCode.INTERNAL_ERROR, "internal error, see the log")
    answer = problem(
        error.code,
        error.detail,
        correlation_id=correlation_id,
        errors=error.errors,
        retry_after=error.retry_after,
    )
    if error.code is RefusalCode.SHUTTING_DOWN:
        answer.headers["Connection"] = "close"
    return answer


def problem(
    code: RefusalCode,
    detail: str,
    *,
    correlation_id: str,
    status: int | None = None,
    errors: Sequence[FieldProblem] = (),
    retry_after: int | None = None,
) -> Answer:
    """Return a problem answer; ``status`` differs from the code's own only for odd HTTP errors."""
    kind = problems.KINDS[code]
    body = problems.body(code, detail, correlation_id=correlation_id, status=status, errors=errors)
    headers = {"Content-Type": problems.MEDIA_TYPE, "Cache-Control": "no-store"}
    if kind.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="lambda-builder"'
    seconds = kind.retry_after if retry_after is None else retry_after
    if seconds is not None:
        headers["Retry-After"] = str(max(1, seconds))
    return Answer(status or kind.status, body.encode("ascii"), headers, code)


def allow(methods: Iterable[str]) -> str:
    """Return the value of ``Allow``, always in the same order."""
    known = set(methods)
    return ", ".join(method for method in _METHODS if method in known)


def _from_error(error: Exception) -> Response:
    return of_error(error, correlation.current()).response()


def _from_http(error: HTTPException) -> Response | HTTPException:
    status = error.code
    if status is None or status < HTTPStatus.BAD_REQUEST:
        return error
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return _from_error(error)
    code = _CODES_BY_STATUS.get(status, RefusalCode.BAD_REQUEST)
    own = error.description if error.description != type(error).description else None
    answer = problem(
        code, own or error.name.lower(), correlation_id=correlation.current(), status=status
    )
    if isinstance(error, MethodNotAllowed):
        answer.headers["Allow"] = allow(error.valid_methods or ())
    return answer.response()
