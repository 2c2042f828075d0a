"""The messages that tell of builds, and the events that are passed on as they came."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary_event, to_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_builder.builds import BuildError, BuildRequest, BuildResult, BuildState, Priority
from lambda_builder.events.reader import EventReader
from lambda_builder.outgoing.messages import build_event, dead_letter, handoff, rejected_event

BUILD = "network.notifi.lambda.build.start"
LENIENT = EventReader(strict=False, build_event_types=(BUILD,))
STRICT = EventReader(strict=True, build_event_types=(BUILD,))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOW = 1_700_000_000.25
HEADERS = {
    "Ce-Specversion": "1.0",
    "Ce-Type": BUILD,
    "Ce-Source": "network.notifi.customer-1",
    "Ce-Id": "id-1",
    "Content-Type": "application/json",
}
KINDS = ["accepted", "started", "complete", "failed", "timeout", "cancelled"]


def received(body: Any = None, *, reader: EventReader = LENIENT, **headers: str) -> BuildRequest:
    sent = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    data = json.dumps(body or {"parser_id": "parser-1"}).encode()
    (request,) = reader.read(sent, data, now=NOW).events
    assert isinstance(request, BuildRequest)
    return request


def received_structured(**event: Any) -> BuildRequest:
    envelope = {"type": BUILD, "data": {"parser_id": "p"}, **event}
    body = json.dumps(envelope).encode()
    headers = {"Content-Type": "application/cloudevents+json"}
    (request,) = LENIENT.read(headers, body, now=NOW).events
    assert isinstance(request, BuildRequest)
    return request


def again(message: HTTPMessage) -> BuildRequest:
    """Read a message as a strict receiver would, after a trip through WSGI."""
    headers = {name.title(): value for name, value in message.headers.items()}
    for value in headers.values():
        value.encode("latin-1")
    (request,) = STRICT.read(headers, message.body, now=NOW).events
    assert isinstance(request, BuildRequest)
    return request


def news(kind: Any = "complete", request: BuildRequest | None = None, **options: Any) -> Any:
    result = BuildResult(
        request=request or received(X_Correlation_ID="c-1"), state=BuildState.SUCCEEDED
    )
    options = {"source": "lambda-builder", "time": NOW, "overrides": {}, **options}
    return build_event(kind, options.pop("result", result), **options)


# News of builds


@pytest.mark.parametrize("kind", KINDS)
def test_news_of_a_build_is_a_binary_event_whose_id_follows_from_the_build(kind):
    request = received(X_Correlation_ID="c-1", Traceparent=TRACE)
    message = news(kind, request)
    assert message.headers == {
        "ce-specversion": "1.0",
        "ce-id": f"{request.event_hash}-{kind}",
        "ce-source": "lambda-builder",
        "ce-type": f"network.notifi.lambda.build.{kind}",
        "ce-time": "2023-11-14T22:13:20.250Z",
        "ce-subject": "build-customer-1-parser-1-5377b83a48",
        "ce-correlationid": "c-1",
        "ce-traceparent": TRACE,
        "content-type": "application/json",
    }
    assert message == news(kind, request)


def test_news_carries_the_build_as_the_api_shows_it():
    result = BuildResult(
        request=received(),
        state=BuildState.FAILED,
        error=BuildError("build_failed", "größer \ud800"),
    )
    data = json.loads(news("failed", result=result).body)
    assert data == {
        **result.to_dict(),
        "error": {"code": "build_failed", "message": "größer ?"},
        "durations": dict.fromkeys(
            ("waiting_seconds", "starting_seconds", "running_seconds", "total_seconds")
        ),
    }


UPSTREAM_BUILD = "io.knative.lambda.command.build.start"
UPSTREAM = EventReader(strict=False, build_event_types=(BUILD, UPSTREAM_BUILD))


def upstreams(**data: Any) -> BuildRequest:
    body = {"name": "resize", "namespace": "team-1", **data}
    return received(body, reader=UPSTREAM, Ce_Type=UPSTREAM_BUILD)


@pytest.mark.parametrize(
    ("kind", "event_type"),
    [
        *((kind, kind) for kind in KINDS if kind != "complete"),
        ("complete", "completed"),
    ],
)
def test_a_build_of_upstreams_family_is_told_of_in_that_family(kind, event_type):
    request = upstreams()
    headers = news(kind, request).headers
    assert headers["ce-type"] == f"io.knative.lambda.lifecycle.build.{event_type}"
    assert headers["ce-id"] == f"{request.event_hash}-{kind}"


def test_news_of_upstreams_family_has_its_data_besides_the_build():
    result = BuildResult(
        request=upstreams(),
        state=BuildState.FAILED,
        error=BuildError("build_failed", "exit code 1"),
        namespace="knative-lambda",
        image="registry/team-1/resize:1",
        created_at=NOW,
        started_at=NOW + 1,
        finished_at=NOW + 62.5,
    )
    data = json.loads(news("failed", result=result).body)
    theirs = {
        "name": "resize",
        "namespace": "team-1",
        "jobName": result.request.job_name,
        "imageURI": "registry/team-1/resize:1",
        "startedAt": "2023-11-14T22:13:21.250Z",
        "completedAt": "2023-11-14T22:14:22.750Z",
        "duration": "61.5s",
        "error": "build_failed: exit code 1",
    }
    durations = {
        "waiting_seconds": 0.0,
        "starting_seconds": 1.0,
        "running_seconds": 61.5,
        "total_seconds": 62.5,
    }
    assert data == {**result.to_dict(), "durations": durations, **theirs}


def test_what_upstreams_data_does_not_have_yet_is_left_out_for_its_schema_has_no_null():
    result = BuildResult(request=upstreams(), state=BuildState.QUEUED)
    data = json.loads(news("accepted", result=result).body)
    theirs = {"name": "resize", "namespace": "team-1", "jobName": result.request.job_name}
    assert data == {
        **{name: value for name, value in result.to_dict().items() if name != "error"},
        **theirs,
    }


def test_an_event_of_upstreams_family_is_passed_on_with_its_own_names():
    request = upstreams()
    message = handoff(request)
    assert json.loads(message.body) == {"name": "resize", "namespace": "team-1"}
    headers = {name.title(): value for name, value in message.headers.items()}
    (again,) = UPSTREAM.read(headers, message.body, now=NOW).events
    assert again == request


def test_news_can_be_read_by_the_sdk():
    request = received(Ce_Id="%F0%9F%A6%84%20%25", Ce_Source="a%22b")
    event = from_binary_event(news(request=request))
    assert event.get_extension("correlationid") == "🦄 %"
    data: Any = event.get_data()
    assert data["event"] == {"id": "🦄 %", "source": 'a"b', "type": BUILD}


def test_news_without_a_known_trace_has_no_trace_extension():
    assert "ce-traceparent" not in news().headers


def test_overrides_add_and_replace_extensions():
    headers = news(overrides={"tenant": "é 1", "correlationid": "theirs"}).headers
    assert headers["ce-tenant"] == "%C3%A9%201"
    assert headers["ce-correlationid"] == "theirs"


@pytest.mark.parametrize(
    "name", ["id", "source", "type", "specversion", "time", "data", "Bad-Name", "", "x\n"]
)
def test_overrides_cannot_change_what_an_event_means_or_break_it(name):
    assert news(overrides={name: "x"}) == news()


def test_an_override_no_header_can_carry_does_not_break_the_event():
    assert news(overrides={"tenant": "\ud800"}).headers["ce-tenant"] == "?"


def rejected(**changes: Any) -> HTTPMessage:
    options = {
        "body": b"{}",
        "event_type": BUILD,
        "source": "lambda-builder",
        "time": NOW,
        "overrides": {},
    }
    code = changes.pop("code", "invalid_data")
    return rejected_event(code, "parser_id: is required", "{}", **{**options, **changes})


PRINTED = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Z")), min_size=1)


@given(
    source=PRINTED | st.text(min_size=1),
    overrides=st.dictionaries(
        st.from_regex("[a-z0-9]{1,9}", fullmatch=True), PRINTED | st.text(), max_size=3
    ),
)
def test_attributes_stand_in_headers_as_the_sdk_writes_them(source, overrides):
    result = BuildResult(request=received(), state=BuildState.QUEUED)
    message = build_event("accepted", result, source=source, time=NOW, overrides=overrides)
    attributes = from_binary_event(message).get_attributes()
    theirs = to_binary(CloudEvent(attributes, message.body), JSONFormat()).headers
    assert {**theirs, "ce-time": message.headers["ce-time"]} == message.headers


def test_a_refusal_is_told_with_its_reason_and_excerpt():
    message = rejected(correlation_id="c-1")
    assert message.headers["ce-type"] == "network.notifi.lambda.build.rejected"
    assert message.headers["ce-correlationid"] == "c-1"
    assert json.loads(message.body) == {
        "code": "invalid_data",
        "detail": "parser_id: is required",
        "excerpt": "{}",
        "correlation_id": "c-1",
    }


def test_a_refusals_id_follows_from_body_and_code():
    ids = [
        rejected(**changes).headers["ce-id"]
        for changes in ({}, {"time": 5.0}, {"body": b"{ }"}, {"code": "invalid_event"})
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


def test_a_refusal_of_unknown_correlation_has_no_such_extension():
    assert "ce-correlationid" not in rejected().headers


def test_overrides_apply_to_refusals_too():
    assert rejected(overrides={"tenant": "x"}).headers["ce-tenant"] == "x"


# Events passed on


def test_a_handed_off_event_is_the_event_as_it_was():
    data = {"parser_id": "größe", "unknown": [1, {"x": None}]}
    request = received(data, Ce_Subject="s", Ce_Time="2024-01-01T00:00:00.123456789Z")
    message = handoff(request)
    assert message.headers == {
        "ce-specversion": "1.0",
        "ce-id": "id-1",
        "ce-source": "network.notifi.customer-1",
        "ce-type": BUILD,
        "ce-subject": "s",
        "ce-time": "2024-01-01T00:00:00.123456789Z",
        "content-type": "application/json",
    }
    assert json.loads(message.body) == data


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_Correlation_ID": "header"},
        {"X_Correlation_ID": "🦄 é".encode().decode("latin-1")},
        {"X_Correlation_ID": "header", "Ce_Correlationid": "extension"},
        {"X_Correlation_ID": "é".encode().decode("latin-1"), "Ce_Correlationid": "extension"},
        {"Ce_Correlationid": "extension"},
        {"Ce_Correlationid": ""},
        {"Traceparent": TRACE},
        {"Traceparent": TRACE, "Ce_Traceparent": TRACE.replace("b7", "c8")},
        {"Ce_Id": "%F0%9F%A6%84%20%25%22"},
        {"Ce_Time": "2016-12-31t23:59:60z"},
        {"Ce_Time": "2024-01-01T00:00:00+05:30"},
        {"Content_Type": "application/x-www-form-urlencoded"},
        {"Content_Type": "application/problem+json; charset=utf-8"},
        {"Ce_Dataschema": "urn:x", "Ce_Knativearrivaltime": "2024", "Ce_A1": "%22%25"},
    ],
)
@pytest.mark.parametrize("data", [{}, {"correlation_id": "data"}, {"priority": "high", "x": "é"}])
def test_a_handed_off_event_read_again_is_the_same_request(headers, data):
    request = received({"parser_id": "p", **data}, **headers)
    second = again(handoff(request))
    before, after = json.loads(request.event), json.loads(second.event)
    assert replace(second, event=b"") == replace(request, event=b"")
    assert after == {**before, **{name: after[name] for name in after.keys() & {"correlationid"}}}


def test_a_correlation_extension_is_added_only_where_it_would_be_lost():
    assert "ce-correlationid" not in handoff(received()).headers
    assert (
        "ce-correlationid"
        not in handoff(received({"parser_id": "p", "correlation_id": "data"})).headers
    )
    assert handoff(received(X_Correlation_ID="h")).headers["ce-correlationid"] == "h"
    kept = handoff(received(X_Correlation_ID="h", Ce_Correlationid="e")).headers
    assert (kept["ce-correlationid"], kept["x-correlation-id"]) == ("e", "h")


def test_base64_data_is_passed_on_as_the_json_it_holds():
    encoded = base64.b64encode(b'{"parser_id": "p"}').decode()
    request = received_structured(id="1", source="s", data_base64=encoded, data=None)
    assert handoff(request).body == b'{"parser_id":"p"}'
    assert again(handoff(request)) == request


def test_no_time_is_invented_for_an_event_passed_on():
    assert "ce-time" not in handoff(received()).headers


def test_integers_and_booleans_become_their_canonical_text():
    headers = handoff(received_structured(count=5, flag=True)).headers
    assert (headers["ce-count"], headers["ce-flag"]) == ("5", "true")


def test_an_event_that_was_filled_in_keeps_its_identity_when_passed_on():
    request = received_structured()
    assert again(handoff(request)) == request


@pytest.mark.parametrize("extensions", [{"big": "x" * 9000}, {f"e{n}": "x" for n in range(100)}])
def test_an_event_too_large_for_headers_is_passed_on_in_structured_mode(extensions):
    request = received_structured(id="1", source="s", **extensions)
    message = handoff(request)
    assert message.headers == {"content-type": "application/cloudevents+json"}
    assert again(message) == request


def test_a_dead_letter_is_the_original_event_with_two_extensions_more():
    request = received(
        {"parser_id": "p", "x": [1]}, X_Correlation_ID="c", Traceparent=TRACE, Ce_Subject="s"
    )
    plain, dead = handoff(request), dead_letter(request, error="panic", attempts=4)
    assert dead.body == plain.body
    assert dead.headers == {
        **plain.headers,
        "ce-lambdabuildererror": "panic",
        "ce-lambdabuilderattempts": "4",
    }


def test_a_dead_letter_read_again_is_the_same_request():
    request = received(X_Correlation_ID="c", Traceparent=TRACE)
    second = again(dead_letter(request, error="panic", attempts=4))
    assert replace(second, event=b"") == replace(request, event=b"")


def test_a_dead_letter_that_dies_again_tells_of_the_last_death():
    second = again(dead_letter(received(), error="panic", attempts=4))
    headers = dead_letter(second, error="timeout", attempts=1).headers
    assert headers["ce-lambdabuildererror"] == "timeout"
    assert headers["ce-lambdabuilderattempts"] == "1"


def test_a_build_known_only_from_its_job_is_passed_on_as_an_event_made_anew():
    full = received(
        {
            "parser_id": "p",
            "third_party_id": "t",
            "priority": "low",
            "image": "i",
            "build_args": {"A": "1"},
        },
        X_Correlation_ID="c",
    )
    second = again(handoff(replace(full, event=b"")))
    assert second.priority is Priority.LOW
    assert replace(second, event=b"") == replace(full, event=b"")


texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=30)


@settings(max_examples=150, deadline=None, database=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": texts.filter(str.strip),
            "source": texts.filter(str.strip),
            "correlationid": texts,
            "subject": texts.filter(bool),
            "anything": texts,
        },
    ),
    st.dictionaries(st.text(max_size=5), st.text() | st.integers(), max_size=3),
    texts,
)
def test_whatever_was_accepted_survives_being_passed_on(attributes, unknown, parser_id):
    data = {"unknown": unknown, "parser_id": f"p{parser_id}"}
    request = received_structured(data=data, **attributes)
    second = again(handoff(request))
    assert replace(second, event=b"") == replace(request, event=b"")
    assert json.loads(second.event).items() >= json.loads(request.event).items()
