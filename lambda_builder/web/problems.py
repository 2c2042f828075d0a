"""Every error of a request answered as a problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus

import structlog
from flask import Flask, Response, g
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from lambda_builder import problems
from lambda_builder.errors import AttemptFailed, FieldProblem, RefusalCode, Refused
from lambda_builder.web import correlation

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

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


def problem(
    code: RefusalCode,
    detail: str,
    *,
    status: int | None = None,
    errors: Sequence[FieldProblem] = (),
    retry_after: int | None = None,
) -> Response:
    """Return a problem answer; ``status`` differs from the code's own only for odd HTTP errors."""
    kind = problems.KINDS[code]
    g.problem_code = code
    body = problems.body(
        code, detail, correlation_id=correlation.current(), status=status, errors=errors
    )
    response = Response(body, status or kind.status, content_type=problems.MEDIA_TYPE)
    response.headers["Cache-Control"] = "no-store"
    seconds = kind.retry_after if retry_after is None else retry_after
    if seconds is not None:
        response.headers["Retry-After"] = str(max(1, seconds))
    return response


def allow(methods: Iterable[str]) -> str:
    """Return the value of ``Allow``, always in the same order."""
    known = set(methods)
    return ", ".join(method for method in _METHODS if method in known)


def _from_kubernetes(error: AttemptFailed) -> Response:
    return from_refusal(problems.kubernetes_failed(error, "not done"))


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
