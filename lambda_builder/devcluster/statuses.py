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
    headers: tuple[tuple[str, str], ...] = ()

    def status(self) -> Json:
        body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
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
    return Cause(path, "FieldValueRequired", f"Required value{': ' + detail if detail else ''}")


def invalid_value(path: str, value: object, detail: str) -> Cause:
    shown = dumps(value).decode()
    return Cause(path, "FieldValueInvalid", f"Invalid value: {shown}: {detail}")


def unsupported(path: str, value: object, allowed: Sequence[str]) -> Cause:
    names = ", ".join(f'"{name}"' for name in allowed)
    message = f"Unsupported value: {dumps(value).decode()}: supported values: {names}"
    return Cause(path, "FieldValueNotSupported", message)


def _details(resource: Resource, name: str) -> Json:
    details: Json = {"name": name}
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details


def not_found(resource: Resource, name: str) -> ApiError:
    message = f'{resource.qualified} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(resource, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: Resource, name: str, *, deleting: bool = False) -> ApiError:
    lead = "object is being deleted: " if deleting else ""
    message = f'{lead}{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> ApiError:
    why = why or (
        "the object has been modified; please apply your changes to the latest version "
        "and try again"
    )
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(resource, name))


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
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
    message = f'{resource.qualified} "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, _details(resource, name))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def expired(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def method_not_allowed() -> ApiError:
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message)


def unsupported_media_type(accepted: Sequence[str]) -> ApiError:
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return ApiError(415, "UnsupportedMediaType", message)
