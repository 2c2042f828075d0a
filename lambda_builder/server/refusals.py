"""Answers to what is no request, or none that there is room for: made before the application."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import NamedTuple

from gunicorn.http import errors as http_errors

from lambda_builder.errors import RefusalCode
from lambda_builder.problems import KINDS, MEDIA_TYPE, body

_SHOWN = 200
"""Most characters of a broken request in a log line or an answer."""
_SHOWN_OF_A_BODY = 8
_STATUS = {
    http_errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    http_errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    http_errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    http_errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
}
"""By gunicorn's exception; any other request that cannot be parsed is a 400."""


class Refusal(NamedTuple):
    """Why a request does not reach the application; its connection ends."""

    detail: str
    status: HTTPStatus = HTTPStatus.BAD_REQUEST
    code: RefusalCode = RefusalCode.BAD_REQUEST

    @classmethod
    def of(cls, error: Exception) -> Refusal:
        """Tell of one of gunicorn's parse errors."""
        # A header without a colon may be credentials; what is no size of a chunk is the body.
        if isinstance(error, http_errors.InvalidHeader):
            error.hdr = error.hdr.partition(" ")[0]
        elif isinstance(error, http_errors.InvalidChunkSize):
            error.data = error.data[:_SHOWN_OF_A_BODY]
        return cls(str(error)[:_SHOWN], _STATUS.get(type(error), HTTPStatus.BAD_REQUEST))

    def answer(self) -> bytes:
        """Return the whole answer."""
        correlation_id = uuid.uuid4().hex
        content = body(self.code, self.detail, status=self.status, correlation_id=correlation_id)
        head = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            "Connection: close",
            f"Content-Type: {MEDIA_TYPE}",
            f"Content-Length: {len(content)}",
            f"X-Correlation-ID: {correlation_id}",
        ]
        retry_after = KINDS[self.code].retry_after
        if retry_after is not None:
            head.append(f"Retry-After: {retry_after}")
        return "\r\n".join((*head, "", content)).encode("ascii")


NO_ROOM = Refusal(
    "too many large requests at a time, please retry later",
    HTTPStatus.SERVICE_UNAVAILABLE,
    RefusalCode.TOO_MANY_WAITING,
)
