"""The CloudEvents HTTP protocol binding, inbound: headers and a body in, undigested events out.

Decides the content mode and undoes the encodings; what the attributes and data mean is decided
elsewhere. Written by hand because the SDK's reader chooses the mode by the presence of ``ce-``
headers, invents what is missing, and lets broken encodings through. Spec:
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Never
from urllib.parse import unquote_to_bytes

from lambda_builder.errors import FieldProblem, RefusalCode, Refused
from lambda_builder.jsontext import dump_text

ContentMode = Literal["binary", "structured", "batch"]

CLOUDEVENTS = "application/cloudevents"
STRUCTURED_JSON = f"{CLOUDEVENTS}+json"
BATCH_JSON = f"{CLOUDEVENTS}-batch+json"
MAX_BATCH = 100
MAX_DEPTH = 200
"""Deepest nesting of JSON; well under what the interpreter's stack holds, wherever it is read."""

_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_JSON_MEDIA_TYPE = re.compile(r"(application|text)/json|[^/]+/[^/]+\+json")


@dataclass(frozen=True, slots=True)
class RawEvent:
    """One event as it was sent."""

    attributes: Mapping[str, Any]
    """By name; header values are still encoded when ``encoded``, and nulls may occur if not."""
    data: Any
    """``bytes`` where JSON is still to be read from it, ``None`` where there is no data."""
    encoded: bool
    """Whether the attributes are header values."""
    data_base64: Any = None
    """What a structured event has under that name, still encoded."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request: its mode, its events, and the headers that are about all of it."""

    mode: ContentMode
    events: tuple[RawEvent, ...]
    correlation_id: str | None
    """``X-Correlation-ID``, as WSGI gives it."""
    traceparent: str | None


def read_message(headers: Mapping[str, str], body: bytes) -> Message:
    """Split a request into its events; header names match in any case.

    Raises ``Refused``: ``UNSUPPORTED_FORMAT``, ``INVALID_EVENT`` for an envelope that is no JSON
    object, ``INVALID_BATCH`` for a batch that is no array of 1 to 100 objects.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    content_type = lowered.get("content-type", "").strip(" \t")
    media = media_type(content_type)
    mode, events = _split(media, content_type, lowered, body)
    return Message(mode, events, lowered.get("x-correlation-id"), lowered.get("traceparent"))


def _split(
    media: str, content_type: str, headers: dict[str, str], body: bytes
) -> tuple[ContentMode, tuple[RawEvent, ...]]:
    if media == BATCH_JSON:
        return "batch", _batch(body)
    attributes = {name[3:]: value for name, value in headers.items() if name.startswith("ce-")}
    if media == STRUCTURED_JSON:
        envelope = _parse(body, RefusalCode.INVALID_EVENT, "event")
        if attributes and not (isinstance(envelope, dict) and "specversion" in envelope):
            # Bare data under the envelope's content type: the headers are the event.
            return "binary", (_binary(attributes, envelope, "application/json"),)
        return "structured", (_structured(envelope),)
    if media == CLOUDEVENTS or media.startswith((f"{CLOUDEVENTS}+", f"{CLOUDEVENTS}-batch")):
        raise Refused(
            RefusalCode.UNSUPPORTED_FORMAT,
            f"unsupported event format {media[:100]!r}; supported: {STRUCTURED_JSON}, {BATCH_JSON}",
        )
    return "binary", (_binary(attributes, body or None, content_type),)


def _binary(attributes: dict[str, str], data: Any, content_type: str) -> RawEvent:
    # Content-Type is the attribute here; a header of that name would only contradict it.
    attributes.pop("datacontenttype", None)
    if content_type:
        attributes["datacontenttype"] = content_type
    return RawEvent(attributes, data, encoded=True)


def _structured(envelope: Any) -> RawEvent:
    if not isinstance(envelope, dict):
        raise _refused(RefusalCode.INVALID_EVENT, "event", "must be a JSON object")
    data, data_base64 = envelope.pop("data", None), envelope.pop("data_base64", None)
    return RawEvent(envelope, data, encoded=False, data_base64=data_base64)


def _batch(body: bytes) -> tuple[RawEvent, ...]:
    batch = _parse(body, RefusalCode.INVALID_BATCH, "batch")
    if not isinstance(batch, list):
        raise _refused(RefusalCode.INVALID_BATCH, "batch", "must be a JSON array")
    if not 1 <= len(batch) <= MAX_BATCH:
        message = f"must have 1 to {MAX_BATCH} events, has {len(batch)}"
        raise _refused(RefusalCode.INVALID_BATCH, "batch", message)
    for index, envelope in enumerate(batch):
        if not isinstance(envelope, dict):
            raise _refused(RefusalCode.INVALID_BATCH, f"[{index}]", "must be a JSON object")
    return tuple(_structured(envelope) for envelope in batch)


def _parse(body: bytes, code: RefusalCode, what: str) -> Any:
    try:
        return load_json(body)
    except ValueError as error:
        raise _refused(code, what, str(error)) from error


def _refused(code: RefusalCode, field: str, message: str) -> Refused:
    return Refused(code, f"{field}: {message}", errors=[FieldProblem(field, message)])


def media_type(content_type: str) -> str:
    """Return the type and subtype in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Whether a content type means JSON, whatever its case and parameters."""
    return _JSON_MEDIA_TYPE.fullmatch(media_type(content_type)) is not None


def decode_text(value: str) -> str:
    """Read a header that WSGI decoded as Latin-1 as the UTF-8 it is; raises ``ValueError``."""
    return value.strip(" \t").encode("latin-1").decode("utf-8")


def decode_attribute(value: str) -> str:
    """Undo quotes, then one round of percent-encoding (binding 3.1.3.2).

    Raises ``ValueError`` for what is then not UTF-8, overlong forms like ``%C0%A0`` included.
    """
    if value.isascii() and "%" not in value and '"' not in value:
        return value.strip(" \t")  # most values, which nothing has to be undone for
    raw = value.strip(" \t").encode("latin-1")
    if len(raw) >= 2 and raw[:1] == raw[-1:] == b'"':
        raw = _ESCAPED.sub(rb"\1", raw[1:-1])
    return unquote_to_bytes(raw).decode("utf-8")


def load_json(raw: bytes) -> Any:
    """Parse JSON as RFC 8259 has it, in UTF-8; a byte order mark is skipped.

    Raises ``ValueError``, with a message for the sender, also for NaN, Infinity, numbers beyond a
    double or of thousands of digits, lone surrogates and nesting deeper than ``MAX_DEPTH``.
    """
    try:
        text = raw.decode("utf-8-sig")
        value = _DECODER.decode(text)
        if "\\u" in text:
            dump_text(value).encode("utf-8")
    except UnicodeError:
        raise ValueError("must be UTF-8 without lone surrogates") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not valid JSON: {error}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _too_deep([value]):
        raise ValueError("is nested too deeply")
    return value


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def _no_constant(name: str) -> Never:
    raise ValueError(f"is not valid JSON: {name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"has a number out of range: {text[:20]}")
    return value


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"has a number of {len(text)} digits") from None


_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite, parse_int=_whole)
