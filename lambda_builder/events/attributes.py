"""CloudEvents context attributes: decoded, filled in where leniency allows, and validated.

The SDK judges what is out of the ordinary, but only after presence was checked here: it would
invent what is missing, and an invented ``id`` takes away the event's identity. Spec:
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cloudevents.core.exceptions import (
    BaseCloudEventException,
    CloudEventValidationError,
    InvalidAttributeTypeError,
    MissingRequiredAttributeError,
)
from cloudevents.core.v1.event import CloudEvent

from lambda_builder.builds import UNKNOWN_SOURCE
from lambda_builder.errors import FieldProblem
from lambda_builder.events.binding import Message, RawEvent, decode_attribute, decode_text
from lambda_builder.events.data import MAX_SHOWN, MAX_TEXT

SPECVERSION = "1.0"
UPSTREAM_FAMILY = "io.knative.lambda."
"""How the types of upstream's events begin, whose data has other names for the ids."""
REQUIRED = ("specversion", "id", "source", "type")
MAX_BYTES = 1024
"""Longest ``id``, ``source`` or ``type``, in bytes of UTF-8."""
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_NAME = re.compile(r"[a-z0-9]+")
_RESERVED = frozenset({"data"})
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:)(\d\d)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Attributes:
    """An event's attributes in the order of their names, and what is wrong with them."""

    values: Mapping[str, Any]
    problems: tuple[FieldProblem, ...]


def read_attributes(raw: RawEvent, *, strict: bool) -> Attributes:
    """Decode and validate; raises nothing.

    Lenient fills in ``specversion``, ``id`` and ``source`` and leaves out attributes whose names
    are not of ``[a-z0-9]``. Values keep the form they came in, ``time`` included.
    """
    problems: dict[str, str] = {}
    values = _decoded(raw, problems, strict=strict)
    for name in REQUIRED:
        if name in values or name in problems:
            continue
        if strict or name == "type":
            problems[name] = "is required"
        else:
            values[name] = _filled_in(name)
    for name, value in values.items():
        if message := _value_problem(name, value):
            problems.setdefault(name, message)
    if problems or not _is_ordinary(values):
        for name, message in _sdk_problems(values):
            problems.setdefault(name, message)
    ordered = dict(sorted(values.items()))
    return Attributes(ordered, tuple(FieldProblem(*problem) for problem in problems.items()))


def _decoded(raw: RawEvent, problems: dict[str, str], *, strict: bool) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in raw.attributes.items():
        if value is None:
            continue
        if name in _RESERVED or not _NAME.fullmatch(name):
            if strict:
                problems[name[:MAX_SHOWN]] = "attribute names consist of a-z and 0-9"
            continue
        if not raw.encoded:
            values[name] = value
            continue
        try:
            values[name] = (decode_text if name == "datacontenttype" else decode_attribute)(value)
        except ValueError:
            problems[name[:MAX_SHOWN]] = "must be UTF-8, percent-encoded"
    return values


def _filled_in(name: str) -> str:
    if name == "specversion":
        return SPECVERSION
    return UNKNOWN_SOURCE if name == "source" else str(uuid.uuid4())


def _value_problem(name: str, value: Any) -> str | None:
    if not isinstance(value, str):
        # Numbers and booleans are CloudEvents types, but none of the specification's own
        # attributes is one; those are the SDK's to judge.
        return None if isinstance(value, int) else "must be a string, an integer or a boolean"
    if CONTROLS.search(value):
        return "must not contain control characters"
    if name == "time":
        return None if parse_time(value) else "must be a time as in RFC 3339"
    if name in REQUIRED:
        if not value.strip():
            return "must not be empty"
        if len(value) > MAX_BYTES // 4 and len(value.encode("utf-8")) > MAX_BYTES:
            return f"must be at most {MAX_BYTES} bytes long"
    return None


def _is_ordinary(values: Mapping[str, Any]) -> bool:
    """Whether all are texts that say something, of which the SDK has nothing to say.

    Their names are good, times can be read and none that is required is missing: else there is a
    problem already.
    """
    return values["specversion"] == SPECVERSION and all(
        isinstance(value, str) and value for value in values.values()
    )


def _sdk_problems(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    judged = dict(values)
    if isinstance(time := judged.get("time"), str):
        judged["time"] = parse_time(time)
    try:
        CloudEvent(judged)
    except CloudEventValidationError as error:
        for name, causes in error.errors.items():
            yield name[:MAX_SHOWN], _message(name, causes)
    except Exception as error:  # noqa: BLE001 - whatever a sender can make the SDK raise is a 400
        yield "event", f"is not a CloudEvent: {type(error).__name__}"


def _message(name: str, causes: list[BaseCloudEventException]) -> str:
    if any(isinstance(cause, MissingRequiredAttributeError) for cause in causes):
        return "is required"
    if any(isinstance(cause, InvalidAttributeTypeError) for cause in causes):
        return "must be a string"
    return f"must be {SPECVERSION}" if name == "specversion" else "must not be empty"


def parse_time(text: str) -> datetime | None:
    """Read an RFC 3339 time; ``None`` for anything else, ISO 8601's other forms included.

    A leap second becomes the second before it, and digits beyond microseconds are cut off.
    """
    match = _RFC3339.fullmatch(text)
    if not match:
        return None
    date, clock, seconds, fraction, zone = match.group(1, 2, 3, 4, 5)
    seconds = "59" if seconds == "60" else seconds
    try:
        return datetime.fromisoformat(f"{date}T{clock}{seconds}{fraction or ''}{zone.upper()}")
    except ValueError:
        return None


def as_text(value: Any) -> str:
    """Return an attribute's canonical string: what a header would say, before its encoding."""
    return str(value).lower() if isinstance(value, bool) else str(value)


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
