"""``/openapi.json``: OpenAPI 3.1, made from the models that validate and describe the data."""

from __future__ import annotations

import json
from typing import Any

from flask import Flask, Response
from pydantic.json_schema import models_json_schema

from lambda_builder import __version__
from lambda_builder.events.binding import MAX_BATCH
from lambda_builder.events.data import BuildData, CancelData
from lambda_builder.settings import CANCEL_EVENT_TYPE, Settings
from lambda_builder.web import examples, models, problems
from lambda_builder.web.openapi_paths import paths, ref

_Json = dict[str, Any]

_ANSWERS = (
    models.Accepted,
    models.BatchAnswer,
    models.RejectedEvents,
    models.Build,
    models.BuildPage,
    models.Stats,
)


def register(app: Flask, settings: Settings) -> None:
    """Serve the document, made once."""
    text = json.dumps(document(settings), separators=(",", ":"))

    def openapi() -> Response:
        return Response(text, content_type="application/json")

    app.add_url_rule("/openapi.json", "openapi", openapi)


def document(settings: Settings) -> _Json:
    """Return the OpenAPI document of a service with these settings."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lambda-builder",
            "version": __version__,
            "summary": "CloudEvents in, Kubernetes image-build Jobs out",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "events", "description": "CloudEvents in"},
            {"name": "builds", "description": "Reading and steering builds"},
            {"name": "operation", "description": "Probes, metrics and this document"},
        ],
        "paths": paths(),
        "components": {
            "schemas": _schemas(settings),
            "responses": _problem_responses(),
            "parameters": _parameters(),
            "headers": _headers(),
        },
    }


def _schemas(settings: Settings) -> _Json:
    _, definitions = models_json_schema(
        [
            *((model, "serialization") for model in (*_ANSWERS, models.Problem)),
            *((model, "validation") for model in (BuildData, CancelData)),
        ],
        ref_template="#/components/schemas/{model}",
    )
    data = {"anyOf": [ref("schemas", "BuildData"), ref("schemas", "CancelData")]}
    return {
        **definitions["$defs"],
        "EventData": data,
        "CloudEvent": _cloud_event(settings),
        "CloudEventBatch": {
            "type": "array",
            "items": ref("schemas", "CloudEvent"),
            "minItems": 1,
            "maxItems": MAX_BATCH,
        },
    }


def _cloud_event(settings: Settings) -> _Json:
    types = [*settings.build_event_types, CANCEL_EVENT_TYPE]
    text = {"type": "string", "minLength": 1}
    return {
        "type": "object",
        "description": "A CloudEvent 1.0 in JSON; further attributes are extensions",
        "properties": {
            "specversion": {"type": "string", "const": "1.0"},
            "id": {**text, "description": "Identifies the event together with `source`"},
            "source": text,
            "type": {"type": "string", "enum": types},
            "datacontenttype": {"type": "string"},
            "time": {"type": "string", "format": "date-time"},
            "correlationid": {"type": "string"},
            "traceparent": {"type": "string"},
            "data": ref("schemas", "EventData"),
            "data_base64": {"type": "string", "contentEncoding": "base64"},
        },
        "required": ["specversion", "id", "source", "type"]
        if settings.strict_cloudevents
        else ["type"],
    }


def _problem_responses() -> _Json:
    """One response for each status that a refusal can have, naming its codes."""
    codes: dict[int, list[str]] = {}
    for code, kind in problems.KINDS.items():
        codes.setdefault(kind.status, []).append(code.value)
    return {f"Problem{status}": _problem(status, names) for status, names in codes.items()}


def _problem(status: int, codes: list[str]) -> _Json:
    headers = {"X-Correlation-ID": ref("headers", "CorrelationId")}
    if status in (429, 503):
        headers["Retry-After"] = ref("headers", "RetryAfter")
    title = next(kind.title for kind in problems.KINDS.values() if kind.status == status)
    example = {
        **examples.PROBLEM,
        "type": problems.TYPE_PREFIX + codes[0],
        "title": title,
        "status": status,
        "code": codes[0],
    }
    schema = {"schema": ref("schemas", "Problem"), "examples": {"example": {"value": example}}}
    return {
        "description": "Refused: " + ", ".join(f"`{code}`" for code in codes),
        "headers": headers,
        "content": {problems.MEDIA_TYPE: schema},
    }


def _parameters() -> _Json:
    event = examples.EVENT
    return {
        "BuildId": {
            "name": "build_id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            "description": "A correlation ID or a Job name, percent-encoded",
            "example": examples.JOB_NAME,
        },
        "CeType": _header("Ce-Type", "Binary mode: the event's type", event["type"]),
        "CeSource": _header("Ce-Source", "Binary mode: who sends", event["source"]),
        "CeId": _header("Ce-Id", "Binary mode: the event's ID", event["id"]),
        "CeSpecversion": _header("Ce-Specversion", "Binary mode: the version", "1.0"),
        "CorrelationId": _header("X-Correlation-ID", "Goes before the event's own", "id-1"),
        "Prefer": _header("Prefer", "With `reply` an acceptance has no body", "reply"),
        "RequestOrigin": _header("WebHook-Request-Origin", "Who asks to send", "eventhost.example"),
        "RequestRate": _header("WebHook-Request-Rate", "Requests a minute asked for", "120"),
    }


def _header(name: str, description: str, example: str) -> _Json:
    return {
        "name": name,
        "in": "header",
        "schema": {"type": "string"},
        "description": description,
        "example": example,
    }


def _headers() -> _Json:
    text, seconds = {"type": "string"}, {"type": "integer", "minimum": 1}
    return {
        "CorrelationId": {"schema": text, "description": "What to look for in logs and events"},
        "Location": {"schema": text, "description": "Where the build can be read"},
        "JobName": {"schema": text, "description": "The build's Job"},
        "RetryAfter": {"schema": seconds, "description": "Seconds to wait before trying again"},
        "Allow": {"schema": text, "description": "The methods of this path"},
        "AllowedOrigin": {"schema": text, "description": "The origin that may send"},
        "AllowedRate": {"schema": text, "description": "Requests a minute, `*` for any number"},
    }
