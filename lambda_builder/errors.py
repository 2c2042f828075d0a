"""The error tree, split by what the caller does next.

``Refused`` goes back to whoever asked and nothing was recorded; ``Transient`` means try again
later; ``Permanent`` means trying again cannot help; ``BootError`` stops the process at start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class LambdaBuilderError(Exception):
    """Root of every error this package raises on purpose."""


class BootError(LambdaBuilderError):
    """The service cannot start; the message says what to change."""


class RefusalCode(StrEnum):
    """Stable ``code`` of a problem answer (docs/http-api.rst)."""

    INVALID_EVENT = "invalid_event"
    INVALID_DATA = "invalid_data"
    INVALID_BATCH = "invalid_batch"
    INVALID_PARAMETER = "invalid_parameter"
    UNSUPPORTED_EVENT_TYPE = "unsupported_event_type"
    UNSUPPORTED_FORMAT = "unsupported_format"
    CONTEXT_NOT_ALLOWED = "context_not_allowed"
    IMAGE_NOT_ALLOWED = "image_not_allowed"
    BODY_TOO_LARGE = "body_too_large"
    BAD_REQUEST = "bad_request"
    UNAUTHENTICATED = "unauthenticated"
    UNSIGNED_ATTRIBUTES = "unsigned_attributes"
    FORBIDDEN = "forbidden"
    READ_ONLY = "read_only"
    NOT_FOUND = "not_found"
    NO_PROVENANCE = "no_provenance"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    QUEUE_FULL = "queue_full"
    TENANT_LIMIT = "tenant_limit"
    RATE_LIMIT = "rate_limit"
    FAILURE_BACKOFF = "failure_backoff"
    TOO_MANY_FAILURES = "too_many_failures"
    ISSUER_UNAVAILABLE = "issuer_unavailable"
    SHUTTING_DOWN = "shutting_down"
    NOT_READY = "not_ready"
    JOURNAL_UNAVAILABLE = "journal_unavailable"
    ACK_TIMEOUT = "ack_timeout"
    TOO_MANY_WAITING = "too_many_waiting"
    TOO_MANY_STREAMS = "too_many_streams"
    ALREADY_FINISHED = "already_finished"
    AMBIGUOUS = "ambiguous"
    NOT_RETRYABLE = "not_retryable"
    KUBERNETES_UNAVAILABLE = "kubernetes_unavailable"
    KUBERNETES_REFUSED = "kubernetes_refused"
    BUILD_FAILED = "build_failed"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One entry of a problem's ``errors`` list."""

    field: str
    message: str


class Refused(LambdaBuilderError):
    """Not done, and nothing was recorded.

    ``detail`` puts the cause first, because brokers keep only its beginning; ``retry_after`` is
    in whole seconds.
    """

    def __init__(
        self,
        code: RefusalCode,
        detail: str,
        *,
        retry_after: int | None = None,
        errors: Sequence[FieldProblem] = (),
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.retry_after = retry_after
        self.errors = tuple(errors)


class FailureReason(StrEnum):
    """Why an attempt failed: a closed set, so that it can be a metric label and an error code."""

    CONNECTION = "connection"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    QUOTA_EXCEEDED = "quota_exceeded"
    WEBHOOK_UNAVAILABLE = "webhook_unavailable"
    BEING_DELETED = "being_deleted"
    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NAMESPACE_NOT_FOUND = "namespace_not_found"
    INVALID_MANIFEST = "invalid_manifest"
    WEBHOOK_DENIED = "webhook_denied"
    NAME_CONFLICT = "name_conflict"
    API_ERROR = "api_error"
    PANIC = "panic"


class AttemptFailed(LambdaBuilderError):
    """One attempt at a build failed; ``reason`` says why."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Transient(AttemptFailed):
    """Trying again can help, ``retry_after`` seconds from now at the earliest where given."""

    def __init__(
        self, reason: FailureReason, message: str, *, retry_after: float | None = None
    ) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class Unreachable(Transient):
    """No answer from the API: counts against the build only if the API answers a probe."""


class NotSent(Unreachable):
    """The call was not made at all, because the process is ending."""


class Permanent(AttemptFailed):
    """Trying again cannot help."""
