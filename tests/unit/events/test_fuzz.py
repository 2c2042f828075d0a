"""Whatever comes in, a request is either read or refused; nothing else is ever raised."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lambda_builder.builds import BuildRequest
from lambda_builder.errors import Refused
from lambda_builder.events.attributes import CONTROLS
from lambda_builder.events.reader import Delivery, EventReader

BUILD = "network.notifi.lambda.build.start"
CANCEL = "network.notifi.lambda.build.cancel"
LENIENT = EventReader(strict=False, build_event_types=(BUILD,))
STRICT = EventReader(strict=True, build_event_types=(BUILD,))

content_types = st.sampled_from(
    [
        "application/json",
        "application/cloudevents+json",
        "application/cloudevents-batch+json",
        "application/cloudevents+json; charset=utf-8",
        "application/cloudevents+avro",
        "application/x-www-form-urlencoded",
        ";",
        "",
    ]
)
types = st.sampled_from([BUILD, CANCEL, "other"])
any_text = st.text(st.characters(), max_size=20)
latin_1 = st.text(st.characters(max_codepoint=255), max_size=20)
names = st.sampled_from(
    [
        "ce-id",
        "Ce-Source",
        "ce-specversion",
        "ce-time",
        "ce-subject",
        "Ce-Correlationid",
        "X-Correlation-ID",
        "traceparent",
        "ce-",
        "ce-data",
        "ce-correlation-id",
        "ce-data_base64",
    ]
) | latin_1.map(lambda name: f"ce-{name}")
headers = st.builds(
    lambda extra, fixed: {**extra, **fixed},
    st.dictionaries(names | any_text, latin_1 | any_text, max_size=6),
    st.fixed_dictionaries({}, optional={"Content-Type": content_types, "Ce-Type": types}),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(
    [
        "parser_id",
        "third_party_id",
        "correlation_id",
        "priority",
        "runtime",
        "image",
        "job_name",
        "context_url",
        "content_hash",
        "build_args",
    ]
)
data = st.dictionaries(fields, json_values | st.text(), max_size=6) | json_values
attributes = st.sampled_from(
    [
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "subject",
        "datacontenttype",
        "dataschema",
        "data_base64",
        "correlationid",
        "traceparent",
    ]
)
envelopes = st.builds(
    lambda extra, kind, content: {"type": kind, "data": content, **extra},
    st.dictionaries(attributes | any_text, json_values, max_size=6),
    types,
    data,
)


def outcome(reader: EventReader, sent: dict[str, str], body: bytes) -> Delivery | Refused:
    try:
        delivery = reader.read(sent, body, now=1.0)
    except Refused as refused:
        check_refusal(refused)
        return refused
    assert delivery.events
    for request in delivery.events:
        assert request.correlation_id
        assert not CONTROLS.search(request.correlation_id), "it becomes a response header"
        if isinstance(request, BuildRequest):
            assert BuildRequest.from_json(request.to_json().encode()) == request
            json.loads(request.event, parse_constant=pytest.fail)
    return delivery


def check_refusal(refused: Refused) -> None:
    """It must fit into an answer: bounded, and encodable as UTF-8."""
    assert refused.detail
    assert len(refused.detail.encode()) < 4000
    for problem in refused.errors:
        assert len(f"{problem.field}{problem.message}".encode()) < 2000


def both(sent: dict[str, str], body: bytes) -> None:
    lenient, strict = outcome(LENIENT, sent, body), outcome(STRICT, sent, body)
    if isinstance(lenient, Refused):
        assert isinstance(strict, Refused)
    elif isinstance(strict, Delivery):
        assert strict == lenient


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


@settings(max_examples=200, deadline=None, database=None)
@given(headers, st.binary(max_size=200))
@example({"Ce-Type": BUILD}, b"[" * 1_000_000)
@example({"Content-Type": "application/cloudevents+json"}, b'{"a":' * 200_000)
@example({"Content-Type": "application/cloudevents-batch+json"}, b"[" * 200_000)
@example({"Content-Type": "application/cloudevents+json", "Ce-Id": "1"}, b"9" * 10_000)
def test_any_bytes_under_any_headers(sent, body):
    both(sent, body)


@settings(max_examples=300, deadline=None, database=None)
@given(headers, data)
def test_any_json_as_data(sent, value):
    both({"Ce-Type": BUILD, **sent}, encoded(value))


@settings(max_examples=300, deadline=None, database=None)
@given(headers, envelopes | json_values)
def test_any_json_as_an_envelope(sent, value):
    both({**sent, "Content-Type": "application/cloudevents+json"}, encoded(value))


@settings(max_examples=200, deadline=None, database=None)
@given(headers, st.lists(envelopes | json_values, max_size=4) | json_values)
def test_any_json_as_a_batch(sent, value):
    both({**sent, "Content-Type": "application/cloudevents-batch+json"}, encoded(value))


@settings(max_examples=200, deadline=None, database=None)
@given(any_text, st.dictionaries(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), st.text()))
def test_any_valid_attribute_survives_percent_encoding(event_id, extensions):
    hexed = {
        f"ce-{name}": "".join(f"%{byte:02x}" for byte in value.encode("utf-8", "replace"))
        for name, value in {**extensions, "id": event_id, "specversion": "1.0"}.items()
    }
    both({"Content-Type": "application/json", "ce-source": "s", **hexed, "ce-type": BUILD}, b"{}")


def test_the_generators_do_reach_events_that_are_read():
    """Guards the fuzzing above against becoming a test of refusals only."""
    kinds = set()

    @settings(max_examples=100, deadline=None, database=None, derandomize=True)
    @given(st.text(min_size=1), json_values)
    def reach(parser_id, extra):
        value = encoded({"parser_id": parser_id, "extra": extra})
        kinds.add(type(outcome(LENIENT, {"Ce-Type": BUILD}, value)))

    reach()
    assert kinds == {Delivery, Refused}
