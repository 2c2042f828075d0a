"""What ties an event to others: its correlation ID and its trace, from headers or extensions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lambda_builder.errors import FieldProblem
from lambda_builder.event_attributes import CONTROLS, as_text
from lambda_builder.event_data import MAX_TEXT
from lambda_builder.http_binding import Message, decode_text

CORRELATION_HEADER = "X-Correlation-ID"
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


def sent_correlation_id(
    message: Message, attributes: Mapping[str, Any]
) -> tuple[str, list[FieldProblem]]:
    """Return what the header, else the extension says; empty where neither says anything.

    The header is about one event, so in a batch it is about none.
    """
    header = message.correlation_id or ""
    if message.mode == "batch" or not header.strip():
        return _checked("correlationid", as_text(attributes.get("correlationid", "")))
    try:
        return _checked(CORRELATION_HEADER, decode_text(header))
    except ValueError:
        return "", [FieldProblem(CORRELATION_HEADER, "must be UTF-8")]


def _checked(field: str, value: str) -> tuple[str, list[FieldProblem]]:
    if len(value) > MAX_TEXT:
        return "", [FieldProblem(field, f"must be at most {MAX_TEXT} characters long")]
    # An extension with control characters was already refused as an attribute.
    if field == CORRELATION_HEADER and CONTROLS.search(value):
        return "", [FieldProblem(field, "must not contain control characters")]
    return value.strip(), []


def traceparent_of(message: Message, attributes: Mapping[str, Any]) -> str | None:
    """Return the trace context of the header, else of the extension, where it is well formed.

    Spec: https://www.w3.org/TR/trace-context/#traceparent-header-field-values
    """
    for candidate in (message.traceparent, attributes.get("traceparent")):
        if isinstance(candidate, str) and _TRACEPARENT.fullmatch(candidate.strip()):
            return candidate.strip()
    return None
