"""``/openapi.json``: ``openapi.yaml``, and what the models, the settings and the refusals add."""

from __future__ import annotations

import json
from http import HTTPStatus
from importlib import resources
from typing import Any

import yaml
from pydantic.json_schema import models_json_schema

from lambda_builder import __version__, advice, problems
from lambda_builder.errors import FieldProblem, RefusalCode
from lambda_builder.events.data import (
    BuildData,
    CommandData,
    UpstreamBuildData,
    UpstreamCommandData,
)
from lambda_builder.settings import COMMAND_EVENT_TYPES, Settings
from lambda_builder.web import models

_Json = dict[str, Any]

_ANSWERS = (
    models.Accepted,
    models.BatchAnswer,
    models.RejectedEvents,
    models.AuditPage,
    models.Build,
    models.BuildPage,
    models.BulkAnswer,
    models.Stats,
    models.Problem,
)

_RATE_LIMIT = {
    "RateLimit-Policy": {"$ref": "#/components/headers/RateLimitPolicy"},
    "RateLimit": {"$ref": "#/components/headers/RateLimit"},
}
_SHOWN = {
    400: (RefusalCode.INVALID_DATA, "parser_id: is required"),
    401: (RefusalCode.UNAUTHENTICATED, "no credentials"),
    403: (RefusalCode.READ_ONLY, "nobody may cancel or retry builds here"),
    404: (RefusalCode.NOT_FOUND, "no build 'order-7' is known; it may have expired"),
    405: (RefusalCode.METHOD_NOT_ALLOWED, "PUT is not allowed here"),
    409: (RefusalCode.ALREADY_FINISHED, "build 'id-1' has already finished"),
    413: (RefusalCode.BODY_TOO_LARGE, "the body is over 1048576 bytes"),
    415: (RefusalCode.UNSUPPORTED_FORMAT, "unsupported event format 'application/xml'"),
    429: (RefusalCode.TENANT_LIMIT, "too many events of this tenant, please retry later"),
    500: (RefusalCode.INTERNAL_ERROR, "internal error, see the log"),
    502: (RefusalCode.KUBERNETES_REFUSED, "Kubernetes API: the build was not looked up: forbidden"),
    503: (RefusalCode.QUEUE_FULL, "job queue full, please retry later (100 builds wait)"),
}
"""A refusal that is shown for each status."""
_DATA = (BuildData, CommandData, UpstreamBuildData, UpstreamCommandData)


_OPEN = ("/health", "/ready")
_UNREAD = {
    str(status.value): {"$ref": "#/components/responses/TooLong"}
    for status in (HTTPStatus.REQUEST_URI_TOO_LONG, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
}
"""What the server answers before it is known which operation was meant."""


def document(settings: Settings) -> _Json:
    """Return the OpenAPI document of a service with these settings."""
    source = resources.files(__package__).joinpath("openapi.yaml").read_text("utf-8")
    described: _Json = yaml.safe_load(source)
    described["info"]["version"] = __version__
    components = described["components"]
    components["responses"].update(_problem_responses())
    components["schemas"].update(_model_schemas())
    for path, item in described["paths"].items():
        for method in item.keys() - {"parameters"}:
            # A copy: YAML's anchors share what is written once.
            answers = {**_UNREAD, **({} if path in _OPEN else _denials())}
            answers |= item[method]["responses"]
            item[method] = {**item[method], "responses": answers}
    event = components["schemas"]["CloudEvent"]
    event["properties"]["type"]["enum"] = [*settings.build_event_types, *COMMAND_EVENT_TYPES]
    if settings.strict_cloudevents:
        event["required"] = ["specversion", "id", "source", "type"]
    else:
        # A null counts as absent, and what is absent is filled in.
        for name in ("specversion", "id", "source"):
            event["properties"][name] = {"anyOf": [event["properties"][name], {"type": "null"}]}
    return described


def _model_schemas() -> _Json:
    _, definitions = models_json_schema(
        [
            *((model, "serialization") for model in _ANSWERS),
            *((model, "validation") for model in _DATA),
        ],
        ref_template="#/components/schemas/{model}",
    )
    schemas: _Json = definitions["$defs"]
    return schemas


def _denials() -> _Json:
    """What every operation but the probes may answer to whoever may not call it."""
    return {
        str(status): {"$ref": f"#/components/responses/Problem{status}"}
        for status in (
            *(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS),
            HTTPStatus.SERVICE_UNAVAILABLE,
        )
    }


def _problem_responses() -> _Json:
    """One response for each status that a refusal can have, naming its codes."""
    codes: dict[int, list[RefusalCode]] = {}
    for code, kind in problems.KINDS.items():
        codes.setdefault(kind.status, []).append(code)
    return {f"Problem{status}": _problem(status, same) for status, same in codes.items()}


def _problem(status: int, codes: list[RefusalCode]) -> _Json:
    headers = {"X-Correlation-ID": {"$ref": "#/components/headers/CorrelationId"}}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/Authenticate"}
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        headers.update(_RATE_LIMIT)
    if problems.KINDS[codes[0]].retry_after is not None:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    errors = [FieldProblem("parser_id", "is required")] if status == 400 else []
    code, detail = _SHOWN[status]
    example = json.loads(problems.body(code, detail, correlation_id="id-1", errors=errors))
    content = {
        "schema": {"$ref": "#/components/schemas/Problem"},
        "examples": {"example": {"value": example}},
    }
    return {
        "description": _refusals(codes),
        "headers": headers,
        "content": {problems.MEDIA_TYPE: content},
    }


def _refusals(codes: list[RefusalCode]) -> str:
    named = "Refused: " + ", ".join(f"`{code.value}`" for code in codes)
    return "\n\n".join([named, "\n".join(f"* `{code}`: {advice.REFUSALS[code]}" for code in codes)])
