"""CloudEvents that the service sends: news of builds, and events passed on as they came.

Pure: makes messages and sends none. Names and contents: docs/events-out.rst.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from cloudevents.core.bindings.http import HTTPMessage, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from lambda_builder.builds import BuildRequest, BuildResult
from lambda_builder.events.attributes import (
    REQUIRED,
    SPECVERSION,
    UPSTREAM_FAMILY,
    as_text,
    parse_time,
)
from lambda_builder.events.binding import STRUCTURED_JSON
from lambda_builder.jsontext import dump_text

__all__ = [
    "BuildNews",
    "HTTPMessage",
    "build_event",
    "dead_letter",
    "handoff",
    "is_news",
    "rejected_event",
]

Headers = Callable[[Mapping[str, str], bytes], dict[str, str]]
BuildNews = Literal["accepted", "started", "complete", "failed", "timeout", "cancelled"]

TYPE_PREFIX = "network.notifi.lambda.build."
LIFECYCLE_PREFIX = f"{UPSTREAM_FAMILY}lifecycle.build."
"""Of all news in that family; its commands begin with ``io.knative.lambda.command.``."""
_UPSTREAM_NEWS = {"complete": "completed"}
"""News that upstream's family has another word for."""
_NEWS = (*get_args(BuildNews), "rejected")
_NEWS_TYPES = frozenset(f"{TYPE_PREFIX}{kind}" for kind in _NEWS)
_JSON = "application/json"
_MAX_HEADERS = 64
_MAX_HEADER_BYTES = 8000
"""All headers together; more than that, and some receivers refuse the message for ever."""
_PLAIN = re.compile(r"[!#$&-~]+")
"""Text that stands in a header as it is (CloudEvents HTTP binding, 3.1.3.2)."""
_MANY_SETS_OF_NAMES = 256
_EXTENSION = re.compile(r"[a-z0-9]+")
_OWN = frozenset((*REQUIRED, "subject", "time", "datacontenttype", "dataschema", "data"))
"""Names that overrides cannot set: they are the event's meaning."""


def build_event(
    kind: BuildNews,
    result: BuildResult,
    *,
    source: str,
    time: float,
    overrides: Mapping[str, str],
    provenance: Mapping[str, Any] | None = None,
) -> HTTPMessage:
    """Return the event that tells what became of a build, in binary mode.

    ``time`` is in seconds since the epoch; the same build and ``kind`` always give the same
    ``id``. It is of the family that the build's own event is of. Of ``overrides`` those count
    whose names can be extensions'.
    """
    request = result.request
    event_type = news_type(kind, request.event_type)
    attributes = {
        **_attributes(f"{request.event_hash}-{kind}", event_type, source, time),
        "subject": request.job_name,
        "correlationid": request.correlation_id,
    }
    if request.traceparent:
        attributes["traceparent"] = request.traceparent
    data = result.to_dict()
    if result.state.final:
        data["durations"] = result.durations()
    if kind == "complete":
        data["provenance"] = provenance
    if _is_upstream(request.event_type):
        data = {**{k: v for k, v in data.items() if k != "error"}, **_upstream_data(result, data)}
    return _message({**attributes, **_extensions(overrides)}, data, _headers)


def rejected_event(
    code: str,
    detail: str,
    excerpt: str,
    *,
    body: bytes,
    event_type: str,
    source: str,
    time: float,
    overrides: Mapping[str, str],
    correlation_id: str | None = None,
) -> HTTPMessage:
    """Return the event that tells of a refused one of ``event_type``: some brokers drop those.

    The same ``body`` refused for the same ``code`` gives the same ``id``; ``excerpt`` is sent as
    it is, so the caller bounds it and keeps secrets out. ``time`` as in ``build_event``.
    """
    digest = hashlib.sha256(b"%b\n%b" % (code.encode(), body)).hexdigest()
    attributes = _attributes(f"{digest}-rejected", news_type("rejected", event_type), source, time)
    if correlation_id:
        attributes["correlationid"] = correlation_id
    data = {"code": code, "detail": detail, "excerpt": excerpt, "correlation_id": correlation_id}
    return _message({**attributes, **_extensions(overrides)}, data, _headers)


def news_type(kind: str, event_type: str) -> str:
    """Return the type of such news of an event of that type: both are of one family."""
    if _is_upstream(event_type):
        return LIFECYCLE_PREFIX + _UPSTREAM_NEWS.get(kind, kind)
    return TYPE_PREFIX + kind


def is_news(event_type: str) -> bool:
    """Return whether events of that type are what this service sends, never what it takes."""
    return event_type in _NEWS_TYPES or event_type.startswith(LIFECYCLE_PREFIX)


def dead_letter(request: BuildRequest, *, error: str, attempts: int) -> HTTPMessage:
    """Return the original event, marked with the ``error`` code and the number of attempts."""
    marks = {"lambdabuildererror": error, "lambdabuilderattempts": attempts}
    return _passed_on(request, marks)


def handoff(request: BuildRequest) -> HTTPMessage:
    """Return the original event, for another replica to take.

    Read again it gives the same request: a correlation ID that came in a header becomes an
    extension, or stays a header where the event has an extension that says otherwise.
    """
    return _passed_on(request, {})


def _passed_on(request: BuildRequest, marks: Mapping[str, Any]) -> HTTPMessage:
    event = json.loads(request.event) if request.event else request.as_event()
    data = event.pop("data", None)
    own = as_text(event.get("correlationid", "")).strip()
    implied = own or _correlation_id_in(data) or request.event_id
    extras = {}
    if implied != request.correlation_id and not own:
        event["correlationid"] = request.correlation_id
    elif implied != request.correlation_id:
        # WSGI and requests both take header text for Latin-1, so UTF-8 passes as that.
        extras["x-correlation-id"] = request.correlation_id.encode("utf-8").decode("latin-1")
    if request.traceparent:
        extras["traceparent"] = request.traceparent
    # It came from elsewhere, or out of a file: the SDK judges it.
    message = _message({**event, **marks}, data, _headers_by_sdk)
    return HTTPMessage({**message.headers, **extras}, message.body)


def _correlation_id_in(data: Any) -> str:
    value = data.get("correlation_id") if isinstance(data, dict) else None
    return value.strip() if isinstance(value, str) else ""


def _is_upstream(event_type: str) -> bool:
    return event_type.startswith(UPSTREAM_FAMILY)


def _upstream_data(result: BuildResult, shown: Mapping[str, Any]) -> dict[str, str]:
    """Return what upstream's family has as well, in its words; all strings, and none is null.

    Of ours ``namespace`` and ``error`` have the same names, and give way.
    """
    seconds = result.durations()["running_seconds"]
    data = {
        "name": result.request.parser_id,
        "namespace": result.request.third_party_id,
        "jobName": result.request.job_name,
        "imageURI": result.image,
        "startedAt": shown["started_at"],
        "completedAt": shown["finished_at"],
        # As Go writes and reads a time.Duration.
        "duration": None if seconds is None else f"{seconds}s",
        "error": result.error and f"{result.error.code}: {result.error.message}",
    }
    return {name: value for name, value in data.items() if value is not None}


def _attributes(event_id: str, event_type: str, source: str, time: float) -> dict[str, Any]:
    moment = datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds")
    return {
        "specversion": SPECVERSION,
        "id": event_id,
        "source": source,
        "type": event_type,
        "datacontenttype": _JSON,
        "time": moment.replace("+00:00", "Z"),
    }


def _extensions(overrides: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in overrides.items()
        if _EXTENSION.fullmatch(name) and name not in _OWN
    }


def _message(attributes: dict[str, Any], data: Any, headers_of: Headers) -> HTTPMessage:
    body = _encoded(dump_text(data))
    texts = {name: _encoded(as_text(value)).decode() for name, value in attributes.items()}
    headers = headers_of(texts, body)
    size = sum(len(name) + len(value) for name, value in headers.items())
    if len(headers) <= _MAX_HEADERS and size <= _MAX_HEADER_BYTES:
        return HTTPMessage(headers, body)
    envelope = _encoded(dump_text({**attributes, "data": data}))
    return HTTPMessage({"content-type": STRUCTURED_JSON}, envelope)


def _headers(texts: Mapping[str, str], body: bytes) -> dict[str, str]:
    """Return the headers that attributes of ours become (CloudEvents HTTP binding, 3.1.3).

    The SDK takes three times as long as all else about an event. It is asked about each set of
    names once, and about values that are more than plain.
    """
    values = texts.values()
    if all(values) and _PLAIN.fullmatch("".join(values)):
        return dict(zip(_header_names(*texts), values, strict=True))
    return _headers_by_sdk(texts, body)


@functools.lru_cache(_MANY_SETS_OF_NAMES)
def _header_names(*names: str) -> tuple[str, ...]:
    samples = dict.fromkeys(names, "x") | {"specversion": SPECVERSION}
    if "time" in samples:
        samples["time"] = "2000-01-01T00:00:00Z"
    return tuple(_headers_by_sdk(samples, b""))


def _headers_by_sdk(texts: Mapping[str, str], body: bytes) -> dict[str, str]:
    time = texts.get("time")
    attributes = {
        name: parse_time(text) if name == "time" else text
        for name, text in texts.items()
        if text or name != "time"
    }
    headers = to_binary(CloudEvent(attributes, body), JSONFormat()).headers
    # The SDK invents a time where there is none and rewrites one that is there.
    if time:
        headers["ce-time"] = time
    else:
        headers.pop("ce-time", None)
    return headers


def _encoded(text: str) -> bytes:
    # Messages of the Kubernetes API may hold lone surrogates, which no UTF-8 can.
    return text.encode("utf-8", "replace")
