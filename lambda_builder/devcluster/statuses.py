"""Answers that are not a success, worded as the Kubernetes API server words them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lambda_builder.devcluster.objects import Json, Resource, dumps

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    408: "Timeout",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    502: "",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass
class ApiError(Exception):
    """An answer with a ``Status`` body."""

    code: int
    reason: str
    message: str
    details: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of its answer."""
        seconds = self.details.get("retryAfterSeconds")
        return (("Retry-After", str(seconds)),) if seconds is not None else ()

    def status(self) -> Json:
        """Return the ``Status`` object."""
        body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            body["reason"] = self.reason
        if self.details:
            body["details"] = self.details
        body["code"] = self.code
        return body

    def body(self) -> bytes:
        """Return the body of its answer."""
        return dumps(self.status()) + b"\n"


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing wrong with an object: where, which class of wrong, and the words."""

    field: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def required(path: str, detail: str = "") -> Cause:
    """A field that has no value."""
    return Cause(path, "FieldValueRequired", f"Required value{': ' + detail if detail else ''}")


def invalid_value(path: str, value: object, detail: str) -> Cause:
    """A field with a value that cannot be."""
    shown = dumps(value).decode()
    return Cause(path, "FieldValueInvalid", f"Invalid value: {shown}: {detail}")


def unsupported(path: str, value: object, allowed: Sequence[str]) -> Cause:
    """A field with none of the values it may have."""
    names = ", ".join(f'"{name}"' for name in allowed)
    message = f"Unsupported value: {dumps(value).decode()}: supported values: {names}"
    return Cause(path, "FieldValueNotSupported", message)


def object_details(resource: Resource, name: str) -> Json:
    """Return the details that name an object."""
    details: Json = {"name": name}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details


def not_found(resource: Resource, name: str) -> ApiError:
    """404 for an object."""
    message = f'{resource.qualified} "{name}" not found'
    return ApiError(404, "NotFound", message, object_details(resource, name))


def no_such_path() -> ApiError:
    """404 for a path the API does not have."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: Resource, name: str, *, deleting: bool = False) -> ApiError:
    """409 for a name that is taken, perhaps by an object on its way out."""
    lead = "object is being deleted: " if deleting else ""
    message = f'{lead}{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, object_details(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> ApiError:
    """409 for a change that came too late."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version "
        "and try again"
    )
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, object_details(resource, name))


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 for an object with ``causes``."""
    words = [str(cause) for cause in causes]
    listed = words[0] if len(words) == 1 else f"[{', '.join(words)}]"
    details: Json = {"name": name} if name else {}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.kind
    details["causes"] = [
        {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes
    ]
    message = f'{resource.qualified_kind} "{name}" is invalid: {listed}'
    return ApiError(422, "Invalid", message, details)


def forbidden(resource: Resource, name: str, why: str) -> ApiError:
    """403 by admission."""
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, object_details(resource, name))


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """401."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def expired(message: str, metadata: Json | None = None) -> ApiError:
    """410 for a revision of too long ago."""
    return ApiError(410, "Expired", message, metadata=metadata or {})


def method_not_allowed() -> ApiError:
    """405."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message)


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    """415, naming what is accepted."""
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return ApiError(415, "UnsupportedMediaType", message)
