"""What goes wrong, as HTTP shows it: RFC 9457 problems, one table, one shape. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lambda_builder.errors import (
    AttemptFailed,
    FieldProblem,
    Permanent,
    RefusalCode,
    Refused,
    Transient,
)
from lambda_builder.jsontext import dump_ascii

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:lambda-builder:problem:"
_KUBERNETES_RETRY_AFTER = 5
_LONGEST_RETRY_AFTER = 60


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
    RefusalCode.CONTEXT_NOT_ALLOWED: Kind(400, "Build context not allowed"),
    RefusalCode.IMAGE_NOT_ALLOWED: Kind(400, "Image not allowed"),
    RefusalCode.BAD_REQUEST: Kind(400, "Bad request"),
    RefusalCode.UNAUTHENTICATED: Kind(401, "Unauthenticated"),
    RefusalCode.UNSIGNED_ATTRIBUTES: Kind(401, "Attributes not signed"),
    RefusalCode.FORBIDDEN: Kind(403, "Forbidden"),
    RefusalCode.READ_ONLY: Kind(403, "Read only"),
    RefusalCode.NOT_FOUND: Kind(404, "Not found"),
    RefusalCode.NO_PROVENANCE: Kind(404, "No provenance"),
    RefusalCode.METHOD_NOT_ALLOWED: Kind(405, "Method not allowed"),
    RefusalCode.ALREADY_FINISHED: Kind(409, "Build already finished"),
    RefusalCode.AMBIGUOUS: Kind(409, "Several builds match"),
    RefusalCode.NOT_RETRYABLE: Kind(409, "Build not retryable"),
    RefusalCode.BODY_TOO_LARGE: Kind(413, "Body too large"),
    RefusalCode.UNSUPPORTED_FORMAT: Kind(415, "Unsupported event format"),
    RefusalCode.TENANT_LIMIT: Kind(429, "Tenant over its limit", 5),
    RefusalCode.RATE_LIMIT: Kind(429, "Too many events", 1),
    RefusalCode.FAILURE_BACKOFF: Kind(429, "Failed a moment ago", 60),
    RefusalCode.TOO_MANY_FAILURES: Kind(429, "Too many failed tries", 60),
    RefusalCode.QUEUE_FULL: Kind(503, "Queue full", 60),
    RefusalCode.SHUTTING_DOWN: Kind(503, "Shutting down", 5),
    RefusalCode.NOT_READY: Kind(503, "Not ready", 5),
    RefusalCode.JOURNAL_UNAVAILABLE: Kind(503, "Journal unavailable", 10),
    RefusalCode.ACK_TIMEOUT: Kind(503, "Job not created in time", 5),
    RefusalCode.TOO_MANY_WAITING: Kind(503, "Too many requests waiting", 1),
    RefusalCode.TOO_MANY_STREAMS: Kind(503, "Too many streams", 5),
    RefusalCode.ISSUER_UNAVAILABLE: Kind(503, "Issuer unavailable", 5),
    RefusalCode.KUBERNETES_UNAVAILABLE: Kind(503, "Kubernetes unavailable", 10),
    RefusalCode.KUBERNETES_REFUSED: Kind(502, "Refused by Kubernetes"),
    RefusalCode.BUILD_FAILED: Kind(503, "Build failed", 60),
    RefusalCode.INTERNAL_ERROR: Kind(500, "Internal error"),
}


def body(
    code: RefusalCode,
    detail: str,
    *,
    correlation_id: str,
    status: int | None = None,
    errors: Sequence[FieldProblem] = (),
) -> str:
    """Return a problem's body as JSON text, ASCII only.

    ``status`` differs from the code's own only for odd HTTP errors.
    """
    kind = KINDS[code]
    problem = {
        "type": TYPE_PREFIX + code.value,
        "title": kind.title,
        "status": status or kind.status,
        "detail": detail,
        "code": code.value,
        "correlation_id": correlation_id,
        "errors": [{"field": e.field, "message": e.message} for e in errors] or None,
    }
    return f"{dump_ascii(problem)}\n"


def kubernetes_away(detail: str) -> Refused:
    """Return the refusal of what cannot be done while Kubernetes does not answer."""
    return _unavailable(detail, _KUBERNETES_RETRY_AFTER)


def kubernetes_failed(error: AttemptFailed, what: str) -> Refused:
    """Return the refusal that follows from ``error``: for now, or one that waiting cannot help.

    ``what`` was not done, in the words of a reader: "the build was not looked up".
    """
    detail = f"{what}: {error}"
    if isinstance(error, Permanent):
        return Refused(RefusalCode.KUBERNETES_REFUSED, f"Kubernetes API: {detail}")
    asked = error.retry_after if isinstance(error, Transient) else None
    seconds = _KUBERNETES_RETRY_AFTER if asked is None else math.ceil(asked)
    return _unavailable(detail, min(seconds, _LONGEST_RETRY_AFTER))


def _unavailable(detail: str, retry_after: int) -> Refused:
    return Refused(
        RefusalCode.KUBERNETES_UNAVAILABLE, f"Kubernetes API: {detail}", retry_after=retry_after
    )
