"""Which mode a request is in, what counts as an attribute, and what leniency fills in."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pytest

from lambda_builder.builds import (
    Action,
    BuildRequest,
    CommandRequest,
    netstring_digest,
    third_party_of,
)
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.events.reader import Delivery, EventReader

BUILD = "network.notifi.lambda.build.start"
CANCEL = "network.notifi.lambda.build.cancel"
UPSTREAM_BUILD = "io.knative.lambda.command.build.start"
UPSTREAM_CANCEL = "io.knative.lambda.command.build.cancel"
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
BINARY = {
    "Ce-Specversion": "1.0",
    "Ce-Type": BUILD,
    "Ce-Source": "network.notifi.customer-1",
    "Ce-Id": "id-1",
    "Content-Type": "application/json",
}
DATA = {"parser_id": "parser-1"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def read(
    headers: dict[str, str], body: Any = DATA, *, strict: bool = False, **options: Any
) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    types = (BUILD, UPSTREAM_BUILD, "other.build")
    reader = EventReader(strict=strict, build_event_types=types, **options)
    return reader.read(headers, raw, now=1_700_000_000.5)


def build(headers: dict[str, str], body: Any = DATA, **options: Any) -> BuildRequest:
    (request,) = read(headers, body, **options).events
    assert isinstance(request, BuildRequest)
    return request


def refusal(headers: dict[str, str], body: Any = DATA, **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        read(headers, body, **options)
    return caught.value


def fields(refused: Refused) -> list[str]:
    return [problem.field for problem in refused.errors]


def envelope(**changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": "id-1",
        "source": "network.notifi.customer-1",
        "type": BUILD,
        "data": dict(DATA),
    }
    event.update(changes)
    return {name: value for name, value in event.items() if value is not ...}


def without(headers: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}


def test_a_binary_event_becomes_a_request_with_all_it_says():
    delivery = read(BINARY)
    request = delivery.events[0]
    assert delivery.mode == "binary"
    assert isinstance(request, BuildRequest)
    assert (request.event_id, request.event_source) == ("id-1", "network.notifi.customer-1")
    assert request.event_type == BUILD
    assert request.event_hash == netstring_digest("network.notifi.customer-1", "id-1")
    assert request.job_name == "build-customer-1-parser-1-5377b83a48"
    assert request.accepted_at == 1_700_000_000.5
    assert request.correlation_id == "id-1"
    assert request.traceparent is None


def test_the_kept_event_is_compact_json_with_every_field_and_extension():
    data = {"parser_id": "größe", "unknown": {"kept": [1, None]}}
    request = build({**BINARY, "Ce-Subject": "s", "Ce-Knativehistory": "a; b"}, data)
    assert json.loads(request.event) == {
        "specversion": "1.0",
        "id": "id-1",
        "source": "network.notifi.customer-1",
        "type": BUILD,
        "datacontenttype": "application/json",
        "knativehistory": "a; b",
        "subject": "s",
        "data": data,
    }
    assert "größe" in request.event.decode()
    assert b'": ' not in request.event


def test_the_same_event_gives_the_same_request_in_either_mode():
    assert build(BINARY) == build(STRUCTURED, envelope(datacontenttype="application/json"))


def test_jobs_can_be_named_by_their_target():
    first = build(BINARY, name_by_target=True)
    again = build({**BINARY, "Ce-Id": "id-2"}, name_by_target=True)
    assert first.job_name == again.job_name
    assert first.job_name.endswith(netstring_digest("customer-1", "parser-1")[:10])
    assert first.event_hash != again.event_hash


def test_curls_default_form_content_type_is_read_as_json():
    headers = {
        "Ce-Type": BUILD,
        "Ce-Source": "network.notifi.customer-7",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    request = build(headers)
    assert request.third_party_id == "customer-7"
    assert json.loads(request.event)["datacontenttype"] == "application/json"


@pytest.mark.parametrize(
    "content_type",
    [
        "Application/JSON",
        "application/json ; charset=utf-8",
        'application/json; profile="a%20b"',
        "text/json",
        "application/x+json",
    ],
)
def test_a_json_content_type_is_known_in_any_case_and_with_parameters(content_type):
    request = build({**BINARY, "Content-Type": content_type}, strict=True)
    assert json.loads(request.event)["datacontenttype"] == content_type


# Modes


def test_a_structured_request_that_mirrors_its_attributes_in_headers_is_still_structured():
    mirrored = {**BINARY, **STRUCTURED, "Ce-Id": "from-the-header"}
    delivery = read(mirrored, envelope(id="from-the-body"))
    assert delivery.mode == "structured"
    assert delivery.events[0].event_id == "from-the-body"


@pytest.mark.parametrize("strict", [False, True])
def test_bare_data_under_the_structured_content_type_is_binary_when_headers_carry_the_event(strict):
    delivery = read({**BINARY, **STRUCTURED}, DATA, strict=strict)
    assert delivery.mode == "binary"
    assert delivery.events == read(BINARY, DATA).events


def test_a_structured_event_without_specversion_or_ce_headers_is_structured():
    delivery = read(STRUCTURED, envelope(specversion=...))
    assert delivery.mode == "structured"
    request = delivery.events[0]
    assert isinstance(request, BuildRequest)
    assert json.loads(request.event)["specversion"] == "1.0"


def test_the_structured_content_type_matches_in_any_case_and_with_parameters():
    headers = {"content-TYPE": "Application/CloudEvents+JSON; charset=UTF-8"}
    assert read(headers, envelope()).mode == "structured"


def test_a_plain_json_body_that_looks_like_an_envelope_is_not_taken_for_one():
    refused = refusal({"Content-Type": "application/json"}, envelope())
    assert refused.code == RefusalCode.INVALID_EVENT
    assert fields(refused) == ["type"]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/cloudevents+xml",
        "APPLICATION/CloudEvents+Avro; x=y",
        "application/cloudevents",
        "application/cloudevents-batch+protobuf",
    ],
)
def test_another_event_format_is_unsupported_and_the_known_ones_are_named(content_type):
    refused = refusal({**BINARY, "Content-Type": content_type}, b"<x/>")
    assert refused.code == RefusalCode.UNSUPPORTED_FORMAT
    assert "application/cloudevents+json" in refused.detail


@pytest.mark.parametrize("body", [[], 5, "text", None])
def test_an_envelope_that_is_no_object_is_refused(body):
    refused = refusal(STRUCTURED, body)
    assert (refused.code, fields(refused)) == (RefusalCode.INVALID_EVENT, ["event"])


def test_a_broken_envelope_is_refused():
    assert refusal(STRUCTURED, b'{"id":').code == RefusalCode.INVALID_EVENT


# Batches


def test_a_batch_gives_its_events_in_order():
    delivery = read(BATCH, [envelope(id=f"id-{n}") for n in range(100)])
    assert delivery.mode == "batch"
    assert [event.event_id for event in delivery.events] == [f"id-{n}" for n in range(100)]


@pytest.mark.parametrize("body", [[], [envelope()] * 101, {}, "x", [envelope(), 5], [[]]])
def test_a_batch_is_an_array_of_1_to_100_objects(body):
    assert refusal(BATCH, body).code == RefusalCode.INVALID_BATCH


def test_one_bad_event_refuses_the_batch_and_every_problem_names_its_event():
    bad = envelope(data={"parser_id": None, "priority": "urgent"})
    refused = refusal(BATCH, [envelope(), bad, envelope(time="noon")])
    assert fields(refused) == ["[1].parser_id", "[1].priority", "[2].time"]
    assert refused.code == RefusalCode.INVALID_DATA
    assert refused.detail.startswith("[1].parser_id: must not be null")


def test_in_a_batch_the_correlation_header_is_about_no_event():
    events = [envelope(id="a"), envelope(id="b", correlationid="own")]
    headers = {**BATCH, "X-Correlation-ID": "whole request" + "x" * 300}
    assert [event.correlation_id for event in read(headers, events).events] == ["a", "own"]


def test_a_refusal_lists_at_most_100_problems_and_speaks_of_the_first_few():
    bad = envelope(data={"parser_id": None, "runtime": 1, "image": 2})
    refused = refusal(BATCH, [bad] * 100)
    assert len(refused.errors) == 100
    assert refused.detail.endswith("and 295 more")


# Required attributes


def test_lenient_fills_in_what_people_leave_out():
    request = build({"ce-type": BUILD})
    assert uuid.UUID(request.event_id)
    assert request.event_source == "unknown"
    assert request.third_party_id == "unknown"
    event = json.loads(request.event)
    assert (event["id"], event["source"]) == (request.event_id, "unknown")
    assert event["specversion"] == "1.0"


def test_no_time_is_invented_for_an_event_without_one():
    assert "time" not in json.loads(build(BINARY).event)


def test_every_event_without_an_id_gets_a_fresh_one():
    assert build({"ce-type": BUILD}).event_id != build({"ce-type": BUILD}).event_id


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_strict_refuses_a_missing_required_attribute_in_binary_mode(name):
    refused = refusal(without(BINARY, f"Ce-{name.title()}"), strict=True)
    assert (refused.code, fields(refused)) == (RefusalCode.INVALID_EVENT, [name])
    assert refused.detail == f"{name}: is required"


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
def test_strict_refuses_a_missing_required_attribute_in_structured_mode(name):
    assert fields(refusal(STRUCTURED, envelope(**{name: ...}), strict=True)) == [name]


def test_strict_reads_a_valid_event_like_lenient():
    assert build(BINARY, strict=True) == build(BINARY)


@pytest.mark.parametrize("headers", [{}, {"Ce-Id": "1"}, {"Content-Type": "text/plain"}])
def test_a_missing_type_is_always_refused(headers):
    assert fields(refusal(headers)) == ["type"]


@pytest.mark.parametrize("version", ["0.3", "1", "1.0.2", "2.0"])
def test_only_version_1_0_is_read(version):
    assert fields(refusal({**BINARY, "Ce-Specversion": version})) == ["specversion"]


@pytest.mark.parametrize("name", ["id", "source", "type"])
def test_required_attributes_may_have_1024_bytes_and_no_more(name):
    assert fields(refusal(STRUCTURED, envelope(**{name: "x" * 1025})))[0] == name
    assert fields(refusal(STRUCTURED, envelope(**{name: "é" * 513})))[0] == name
    if name != "type":
        assert build(STRUCTURED, envelope(**{name: "é" * 512}))


@pytest.mark.parametrize("value", ["", "  ", 5, True, 1.5, {}, []])
def test_an_id_that_is_no_text_is_refused_not_replaced(value):
    assert fields(refusal(STRUCTURED, envelope(id=value))) == ["id"]


def test_a_null_attribute_is_an_absent_one():
    request = build(STRUCTURED, envelope(subject=None, time=None))
    assert not {"subject", "time"} & set(json.loads(request.event))
    assert fields(refusal(STRUCTURED, envelope(id=None), strict=True)) == ["id"]


def test_another_type_is_refused_by_naming_the_supported_ones_whatever_its_data():
    refused = refusal({**BINARY, "Ce-Type": "com.example.x", "Content-Type": "image/png"}, b"\x89")
    assert refused.code == RefusalCode.UNSUPPORTED_EVENT_TYPE
    assert "com.example.x" in refused.detail
    assert all(kind in refused.detail for kind in (BUILD, "other.build", CANCEL))


def test_every_configured_build_type_is_built():
    assert build({**BINARY, "Ce-Type": "other.build"}).event_type == "other.build"


def test_types_are_compared_exactly():
    refused = refusal({**BINARY, "Ce-Type": BUILD.upper()})
    assert refused.code == RefusalCode.UNSUPPORTED_EVENT_TYPE


# Header values


def test_header_values_are_percent_decoded_once():
    request = build({**BINARY, "Ce-Id": "Euro%20%e2%82%AC%20100%2525"})
    assert request.event_id == "Euro € 100%25"


def test_a_percent_sign_that_escapes_nothing_stays():
    assert build({**BINARY, "Ce-Id": "100% %zz"}).event_id == "100% %zz"


@pytest.mark.parametrize("value", ["%C0%A0", "%ff", "%ED%A0%80", "\xe9", "€"])
def test_header_values_that_are_not_utf_8_are_refused(value):
    refused = refusal({**BINARY, "Ce-Subject": value})
    assert (refused.code, fields(refused)) == (RefusalCode.INVALID_EVENT, ["subject"])


def test_raw_utf_8_in_a_header_is_read_as_what_it_is():
    wsgi = "🦄".encode().decode("latin-1")
    assert build({**BINARY, "Ce-Id": wsgi}).event_id == "🦄"


def test_quoted_header_values_are_unquoted():
    assert build({**BINARY, "Ce-Id": r'"a \"b\" \\ c%20d"'}).event_id == r'a "b" \ c d'


@pytest.mark.parametrize("value", ["%0A", "%00", "a%7Fb", "%C2%80"])
def test_control_characters_in_attributes_are_refused(value):
    assert fields(refusal({**BINARY, "Ce-Id": value})) == ["id"]


def test_lenient_ignores_badly_named_headers():
    headers = {**BINARY, "Ce-Correlation-Id": "x", "Ce-": "y", "Ce-Data": "z", "Ce-É": "%ff"}
    assert build(headers) == build(BINARY)


@pytest.mark.parametrize("name", ["Ce-Correlation-Id", "Ce-Data", "Ce-É", "Ce-a_b", "Ce-a\n"])
def test_strict_refuses_badly_named_headers(name):
    assert fields(refusal({**BINARY, name: "x"}, strict=True)) == [name[3:].lower()]


def test_structured_attributes_follow_the_same_name_rule():
    event = envelope(**{"correlation-id": "x", "ID": "y"})
    assert build(STRUCTURED, event) == build(STRUCTURED, envelope())
    assert fields(refusal(STRUCTURED, event, strict=True)) == ["correlation-id", "ID"]


def test_a_long_name_is_not_repeated_whole():
    refused = refusal(STRUCTURED, envelope(**{"-" * 5000: "x"}), strict=True)
    assert len(refused.detail) < 200


def test_a_datacontenttype_header_does_not_contradict_the_content_type():
    request = build({**BINARY, "Ce-Datacontenttype": "text/plain"}, strict=True)
    assert json.loads(request.event)["datacontenttype"] == "application/json"


def test_a_datacontenttype_header_does_not_stand_in_for_the_content_type():
    headers = {**without(BINARY, "Content-Type"), "Ce-Datacontenttype": "application/json"}
    assert fields(refusal(headers, strict=True)) == ["datacontenttype"]


@pytest.mark.parametrize("value", [5, -1, True, "text"])
def test_extensions_may_be_strings_integers_and_booleans(value):
    assert json.loads(build(STRUCTURED, envelope(tag=value)).event)["tag"] == value


@pytest.mark.parametrize("value", [1.5, [1], {"a": 1}])
def test_other_extension_values_are_refused(value):
    assert fields(refusal(STRUCTURED, envelope(tag=value))) == ["tag"]


@pytest.mark.parametrize("name", ["subject", "dataschema", "datacontenttype"])
@pytest.mark.parametrize("value", ["", 5])
def test_optional_attributes_are_texts_and_not_empty(name, value):
    assert fields(refusal(STRUCTURED, envelope(**{name: value}))) == [name]


# Time


@pytest.mark.parametrize(
    "time",
    [
        "2024-02-29T23:59:59Z",
        "2024-01-01t00:00:00.123456789z",
        "2024-01-01T00:00:00+05:30",
        "2016-12-31T23:59:60Z",
    ],
)
def test_an_rfc_3339_time_is_kept_as_it_came(time):
    assert json.loads(build({**BINARY, "Ce-Time": time}).event)["time"] == time


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "time",
    [
        "2024-W01-1",
        "2024-01-01",
        "20240101T000000Z",
        "2024-01-01T00:00:00",
        "2024-01-01 00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:00+24:00",
        "2024-01-01T00:00:00Z ",
        "٢٠٢٤-01-01T00:00:00Z",
        "noon",
        "",
        5,
    ],
)
def test_any_other_time_is_refused(time, strict):
    refused = refusal(STRUCTURED, envelope(time=time), strict=strict)
    assert (refused.code, fields(refused)) == (RefusalCode.INVALID_EVENT, ["time"])


# Correlation and trace


def test_the_correlation_id_comes_from_header_then_extension_then_data_then_id():
    data = {**DATA, "correlation_id": "data"}
    extended = {**BINARY, "Ce-Correlationid": "extension"}
    assert build({**extended, "x-correlation-id": "header"}, data).correlation_id == "header"
    assert build(extended, data).correlation_id == "extension"
    assert build(BINARY, data).correlation_id == "data"
    assert build(BINARY).correlation_id == "id-1"


@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_correlation_id_says_nothing(blank):
    headers = {**BINARY, "X-Correlation-ID": blank, "Ce-Correlationid": blank}
    assert build(headers, {**DATA, "correlation_id": blank}).correlation_id == "id-1"


def test_an_integer_or_boolean_extension_counts_as_its_text():
    assert build(STRUCTURED, envelope(correlationid=42)).correlation_id == "42"
    assert build(STRUCTURED, envelope(correlationid=True)).correlation_id == "true"


@pytest.mark.parametrize("value", ["x" * 254, "a\x00b", "a\tb", "\xe9", "€"])
def test_a_correlation_header_that_cannot_be_kept_is_refused(value):
    refused = refusal({**BINARY, "X-Correlation-ID": value})
    assert (refused.code, fields(refused)) == (RefusalCode.INVALID_EVENT, ["X-Correlation-ID"])


def test_the_correlation_header_is_not_percent_decoded():
    assert build({**BINARY, "X-Correlation-ID": "a%20b"}).correlation_id == "a%20b"


def test_an_over_long_correlation_extension_is_refused():
    assert fields(refusal({**BINARY, "Ce-Correlationid": "x" * 254})) == ["correlationid"]


def test_an_id_longer_than_correlation_ids_may_be_still_serves_as_one():
    assert len(build({**BINARY, "Ce-Id": "x" * 1000}).correlation_id) == 1000


def test_the_trace_comes_from_the_header_before_the_extension():
    other = TRACE.replace("b7", "c8")
    assert build({**BINARY, "traceparent": TRACE, "Ce-Traceparent": other}).traceparent == TRACE
    assert build({**BINARY, "Ce-Traceparent": other}).traceparent == other


@pytest.mark.parametrize(
    "value",
    [
        "nonsense",
        TRACE.upper(),
        TRACE + "-00",
        "ff" + TRACE[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
    ],
)
def test_a_malformed_trace_context_is_passed_over(value):
    assert build({**BINARY, "Traceparent": value}).traceparent is None
    assert build({**BINARY, "Traceparent": value, "Ce-Traceparent": TRACE}).traceparent == TRACE


@pytest.mark.parametrize(
    ("source", "third_party"),
    [
        ("network.notifi.customer-1", "customer-1"),
        ("network.notifi.", "unknown"),
        ("/apis/v1/brokers/x", "/apis/v1/brokers/x"),
        ("unknown", "unknown"),
    ],
)
def test_the_third_party_is_the_source_without_the_houses_prefix(source, third_party):
    assert third_party_of(source) == third_party
    assert build({**BINARY, "Ce-Source": source}).third_party_id == third_party


# Cancel events


@pytest.mark.parametrize(
    "target",
    [
        {"correlation_id": "c-1"},
        {"job_name": "build-a-b-0123456789"},
        {"third_party_id": "t", "parser_id": "p"},
    ],
)
def test_a_cancel_event_names_its_target_in_one_of_three_ways(target):
    (request,) = read({**BINARY, "Ce-Type": CANCEL}, target).events
    assert isinstance(request, CommandRequest)
    named = {
        "correlation_id": request.target_correlation_id,
        "job_name": request.job_name,
        "third_party_id": request.third_party_id,
        "parser_id": request.parser_id,
    }
    assert {name: value for name, value in named.items() if value is not None} == target
    assert request.correlation_id == request.event_id == "id-1"
    assert (request.event_source, request.event_type) == (BINARY["Ce-Source"], CANCEL)


@pytest.mark.parametrize(
    "target", [{}, {"parser_id": "p"}, {"third_party_id": "t"}, {"job_name": " "}]
)
def test_a_cancel_event_without_a_target_is_refused(target):
    refused = refusal({**BINARY, "Ce-Type": CANCEL}, target)
    assert (refused.code, fields(refused)) == (RefusalCode.INVALID_DATA, ["data"])


def test_a_cancel_events_own_correlation_id_is_not_its_targets():
    headers = {**BINARY, "Ce-Type": CANCEL, "X-Correlation-ID": "mine"}
    (request,) = read(headers, {"correlation_id": "theirs"}).events
    assert isinstance(request, CommandRequest)
    assert (request.correlation_id, request.target_correlation_id) == ("mine", "theirs")


def test_builds_and_cancels_can_share_a_batch():
    events = [envelope(), envelope(type=CANCEL, data={"job_name": "build-a-b-0123456789"})]
    kinds = [type(event) for event in read(BATCH, events).events]
    assert kinds == [BuildRequest, CommandRequest]


@pytest.mark.parametrize(
    ("event_type", "action"),
    [
        (CANCEL, Action.CANCEL),
        (UPSTREAM_CANCEL, Action.CANCEL),
        ("network.notifi.lambda.build.retry", Action.RETRY),
        ("io.knative.lambda.command.build.retry", Action.RETRY),
    ],
)
def test_commands_of_both_families_are_told_apart_by_their_types(event_type, action):
    (request,) = read({**BINARY, "Ce-Type": event_type}, {"job_name": "j"}).events
    assert isinstance(request, CommandRequest)
    assert request.action is action
    assert CommandRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        ({"name": "n"}, ("customer-1", "n")),
        ({"name": "n", "namespace": "ns"}, ("ns", "n")),
        ({"parser_id": "p", "name": "n", "namespace": "ns"}, ("ns", "p")),
        ({"parser_id": "", "name": "n", "third_party_id": "", "namespace": "ns"}, ("ns", "n")),
        ({"name": "n", "third_party_id": "t", "namespace": "ns"}, ("t", "n")),
    ],
)
def test_upstreams_names_stand_in_where_ours_are_missing(data, ids):
    request = build({**BINARY, "Ce-Type": UPSTREAM_BUILD}, data)
    assert (request.third_party_id, request.parser_id) == ids
    assert json.loads(request.event)["data"] == data


def test_upstreams_names_stand_in_for_the_target_of_a_command():
    headers = {**BINARY, "Ce-Type": UPSTREAM_CANCEL}
    (request,) = read(headers, {"name": "n", "namespace": "ns"}).events
    assert isinstance(request, CommandRequest)
    assert (request.third_party_id, request.parser_id) == ("ns", "n")


@pytest.mark.parametrize("event_type", [UPSTREAM_BUILD, UPSTREAM_CANCEL])
@pytest.mark.parametrize("bad", [None, 7, "x" * 254, "a\tb"])
@pytest.mark.parametrize("field", ["name", "namespace"])
def test_a_bad_stand_in_is_refused_by_its_own_name(event_type, field, bad):
    data = {"name": "n", "namespace": "ns", field: bad}
    refused = refusal({**BINARY, "Ce-Type": event_type}, data)
    assert (refused.code, fields(refused)) == (RefusalCode.INVALID_DATA, [field])


def test_an_upstream_event_without_either_name_is_refused():
    refused = refusal({**BINARY, "Ce-Type": UPSTREAM_BUILD}, {"namespace": "ns"})
    assert fields(refused) == ["parser_id"]


def test_upstreams_names_mean_nothing_in_our_own_family():
    assert fields(refusal(BINARY, {"name": "n"})) == ["parser_id"]
    assert build(BINARY, {"parser_id": "p", "namespace": 7}).third_party_id == "customer-1"


def test_structured_base64_data_is_read_as_json():
    encoded = base64.b64encode(b'{"parser_id":"parser-1"}').decode()
    request = build(STRUCTURED, envelope(data=..., data_base64=encoded))
    assert request == build(STRUCTURED, envelope())
