"""Every operation of the HTTP API as OpenAPI 3.1 describes it; the shapes are in ``models``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lambda_builder.builds import BuildState
from lambda_builder.web import examples
from lambda_builder.web.async_jobs import DEFAULT_LIMIT, MAX_LIMIT

_Json = dict[str, Any]


def ref(kind: str, name: str) -> _Json:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def paths() -> _Json:
    """Return the ``paths`` of the document."""
    return {
        "/events": {"post": _receive("receiveEvents"), "options": _options("eventOptions")},
        "/": {"post": _receive("receiveEventsAtRoot"), "options": _options("rootOptions")},
        "/events/rejected": {"get": _rejected()},
        "/async-jobs/stats": {"get": _stats()},
        "/async-jobs": {"get": _list()},
        "/async-jobs/{build_id}": {
            "parameters": [ref("parameters", "BuildId")],
            "get": _build("getBuild", "Read a build", 404, 502, 503),
            "delete": _build("cancelBuild", "Cancel a build", 404, 409, 502, 503),
        },
        "/async-jobs/{build_id}/retry": {
            "parameters": [ref("parameters", "BuildId")],
            "post": _build("retryBuild", "Retry a dead or failed build", 404, 409, 502, 503),
        },
        "/async-jobs/{build_id}/logs": {
            "parameters": [ref("parameters", "BuildId")],
            "get": _logs(),
        },
        "/health": {"get": _probe("health", "Whether the process can serve", "ok")},
        "/ready": {"get": _probe("ready", "Whether events should be sent here", "ready", 503)},
        "/metrics": {"get": _metrics()},
        "/openapi.json": {"get": _openapi()},
    }


def _operation(
    name: str, tag: str, summary: str, responses: Mapping[str, _Json], *problems: int, **more: Any
) -> _Json:
    refused = {str(status): ref("responses", f"Problem{status}") for status in problems}
    return {
        "operationId": name,
        "tags": [tag],
        "summary": summary,
        **more,
        "responses": {**responses, **refused},
    }


def _answer(
    description: str, media_type: str, schema: _Json, example: Any, **headers: str
) -> _Json:
    return {
        "description": description,
        "headers": {
            "X-Correlation-ID": ref("headers", "CorrelationId"),
            **{name.replace("_", "-"): ref("headers", target) for name, target in headers.items()},
        },
        "content": {media_type: {"schema": schema, "examples": {"example": {"value": example}}}},
    }


def _receive(name: str) -> _Json:
    accepted = _answer(
        "Accepted, or seen before: one answer, or one for each event of a batch",
        "application/json",
        {"oneOf": [ref("schemas", "Accepted"), ref("schemas", "BatchAnswer")]},
        examples.ACCEPTED,
        Location="Location",
        X_Job_Name="JobName",
    )
    accepted["content"]["application/json"]["examples"]["batch"] = {"value": examples.BATCH}
    empty = {key: value for key, value in accepted.items() if key != "content"}
    empty["description"] = "Accepted, for a sender that prefers a reply: the body stays empty"
    attributes = ("Type", "Source", "Id", "Specversion")
    return _operation(
        name,
        "events",
        "Send CloudEvents that start or cancel builds",
        {"200": accepted, "202": empty},
        *(400, 413, 415, 429, 503),
        parameters=[
            *(ref("parameters", f"Ce{attribute}") for attribute in attributes),
            ref("parameters", "CorrelationId"),
            ref("parameters", "Prefer"),
        ],
        requestBody={
            "required": True,
            "description": "The content type decides: structured, batch, else binary mode",
            "content": {
                "application/cloudevents+json": _body("CloudEvent", examples.EVENT),
                "application/cloudevents-batch+json": _body("CloudEventBatch", [examples.EVENT]),
                "application/json": _body("EventData", examples.EVENT["data"]),
            },
        },
    )


def _body(schema: str, example: Any) -> _Json:
    return {"schema": ref("schemas", schema), "examples": {"example": {"value": example}}}


def _options(name: str) -> _Json:
    return _operation(
        name,
        "events",
        "The methods, and the CloudEvents webhook validation handshake",
        {
            "200": {
                "description": "What is allowed",
                "headers": {
                    "X-Correlation-ID": ref("headers", "CorrelationId"),
                    "Allow": ref("headers", "Allow"),
                    "WebHook-Allowed-Origin": ref("headers", "AllowedOrigin"),
                    "WebHook-Allowed-Rate": ref("headers", "AllowedRate"),
                },
            }
        },
        parameters=[ref("parameters", "RequestOrigin"), ref("parameters", "RequestRate")],
    )


def _rejected() -> _Json:
    page = ref("schemas", "RejectedEvents")
    answer = _answer("The last of them", "application/json", page, examples.REJECTED)
    return _operation("listRejected", "events", "Events that were refused", {"200": answer})


def _stats() -> _Json:
    answer = _answer("The counts", "application/json", ref("schemas", "Stats"), examples.STATS)
    return _operation("getStats", "builds", "Count what happened", {"200": answer})


def _list() -> _Json:
    page = ref("schemas", "BuildPage")
    answer = _answer("Some builds, newest first", "application/json", page, examples.PAGE)
    text = {"type": "string"}
    limit = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
    return _operation(
        "listBuilds",
        "builds",
        "List builds",
        {"200": answer},
        400,
        parameters=[
            _query("state", {"type": "string", "enum": list(BuildState)}, "Only builds in it"),
            _query("third_party_id", text, "Only builds of this third party"),
            _query("correlation_id", text, "Only builds with this correlation ID"),
            _query("limit", limit, "Most builds in the answer"),
            _query("cursor", text, "The `next_cursor` of the answer before"),
        ],
    )


def _query(name: str, schema: _Json, description: str) -> _Json:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _build(name: str, summary: str, *problems: int) -> _Json:
    answer = _answer("The build", "application/json", ref("schemas", "Build"), examples.BUILD)
    return _operation(name, "builds", summary, {"200": answer}, *problems)


def _logs() -> _Json:
    text = {"type": "string"}
    answer = _answer("The log, as it is written", "text/plain", text, examples.LOG)
    follow = _query("follow", {"type": "boolean", "default": False}, "Stay until the build ends")
    return _operation(
        "getLogs",
        "builds",
        "Stream a build's log",
        {"200": answer},
        *(400, 404, 503),
        parameters=[follow],
    )


def _probe(name: str, summary: str, answer: str, *problems: int) -> _Json:
    yes = _answer("Yes", "text/plain", {"type": "string", "const": answer}, answer)
    return _operation(name, "operation", summary, {"200": yes}, *problems)


def _metrics() -> _Json:
    text = {"type": "string"}
    answer = _answer("In the format that Accept asks for", "text/plain", text, examples.METRICS)
    return _operation("metrics", "operation", "Metrics for Prometheus", {"200": answer})


def _openapi() -> _Json:
    answer = _answer("This document", "application/json", {"type": "object"}, {"openapi": "3.1.0"})
    return _operation("openapi", "operation", "Describe the API", {"200": answer})
