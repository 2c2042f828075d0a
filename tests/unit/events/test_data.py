"""What the data of a build event may be, and which field a refusal names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lambda_builder.builds import BuildRequest, Priority
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.events.reader import EventReader

BUILD = "network.notifi.lambda.build.start"
HEADERS = {
    "Ce-Specversion": "1.0",
    "Ce-Type": BUILD,
    "Ce-Source": "network.notifi.customer-1",
    "Ce-Id": "id-1",
    "Content-Type": "application/json",
}
TEXTS = ["third_party_id", "correlation_id", "runtime", "content_hash"]
REFERENCES = ["context_url", "image"]
OPTIONAL = [*TEXTS, *REFERENCES, "priority", "build_args"]


def read(body: bytes, *, strict: bool = False, **headers: str) -> BuildRequest:
    sent = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    reader = EventReader(strict=strict, build_event_types=(BUILD,))
    (request,) = reader.read(sent, body, now=1.0).events
    assert isinstance(request, BuildRequest)
    return request


def build(**data: Any) -> BuildRequest:
    return read(json.dumps({"parser_id": "p", **data}).encode())


def refusal(body: bytes, **options: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        read(body, **options)
    return caught.value


def messages(**data: Any) -> dict[str, str]:
    refused = refusal(json.dumps({"parser_id": "p", **data}).encode())
    assert refused.code == RefusalCode.INVALID_DATA
    return {problem.field: problem.message for problem in refused.errors}


def structured(**event: Any) -> bytes:
    return json.dumps(
        {"specversion": "1.0", "id": "1", "source": "s", "type": BUILD, **event}
    ).encode()


def refused_structured(**event: Any) -> Refused:
    return refusal(structured(**event), Content_Type="application/cloudevents+json")


def test_all_documented_fields_reach_the_request():
    request = build(
        third_party_id="t",
        priority="high",
        runtime="python3.11",
        context_url="s3://x/y",
        image="registry/x:1",
        content_hash="sha256:0",
        build_args={"A": "1"},
    )
    assert request.third_party_id == "t"
    assert request.priority is Priority.HIGH
    assert request.runtime == "python3.11"
    assert request.context_url == "s3://x/y"
    assert request.image == "registry/x:1"
    assert request.content_hash == "sha256:0"
    assert request.build_args == {"A": "1"}


def test_absent_fields_have_their_defaults():
    request = build()
    assert request.priority is Priority.NORMAL
    assert request.build_args == {}
    texts = (request.runtime, request.context_url, request.image, request.content_hash)
    assert texts == (None, None, None, None)


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_optional_string_counts_as_absent(empty):
    assert build(**dict.fromkeys([*TEXTS, *REFERENCES], empty)) == BuildRequest(
        **{
            **{name: getattr(build(), name) for name in BuildRequest.__slots__},
            "event": build(**dict.fromkeys([*TEXTS, *REFERENCES], empty)).event,
        }
    )


def test_a_missing_parser_id_is_named():
    refused = refusal(b"{}")
    assert refused.detail == "parser_id: is required"


def test_a_null_parser_id_is_named_and_the_detail_begins_with_it():
    refused = refusal(b'{"parser_id": null}')
    assert refused.code == RefusalCode.INVALID_DATA
    assert refused.detail == "parser_id: must not be null"


@pytest.mark.parametrize("value", ["", " ", "\u2003 "])
def test_a_blank_parser_id_is_empty(value):
    assert messages(parser_id=value) == {"parser_id": "must not be empty"}


@pytest.mark.parametrize("name", ["parser_id", *OPTIONAL])
def test_an_explicit_null_is_refused_by_name(name):
    assert messages(**{name: None}) == {name: "must not be null"}


@pytest.mark.parametrize("name", ["parser_id", *TEXTS, *REFERENCES])
@pytest.mark.parametrize("value", [5, 1.5, True, [], {}])
def test_nothing_is_coerced_to_a_string(name, value):
    assert messages(**{name: value}) == {name: "must be a string"}


@pytest.mark.parametrize("name", ["parser_id", *TEXTS])
def test_texts_have_at_most_253_characters(name):
    assert build(**{name: "ü" * 253})
    assert messages(**{name: "x" * 254}) == {name: "must be at most 253 characters long"}


@pytest.mark.parametrize("name", REFERENCES)
def test_references_have_at_most_2048_characters(name):
    assert build(**{name: "x" * 2048})
    assert messages(**{name: "x" * 2049}) == {name: "must be at most 2048 characters long"}


@pytest.mark.parametrize("name", ["parser_id", *TEXTS, *REFERENCES])
@pytest.mark.parametrize("control", ["\x00", "\n", "\x1f", "\x7f", "\x85"])
def test_control_characters_are_refused_by_name(name, control):
    assert messages(**{name: f"a{control}b"}) == {name: "must not contain control characters"}
    assert messages(**{name: f"a{control}"}) == {name: "must not contain control characters"}


@pytest.mark.parametrize("value", ["urgent", "HIGH", "", 1, [], {}])
def test_priorities_are_three_words(value):
    assert messages(priority=value) == {"priority": "must be one of 'low', 'normal' or 'high'"}


@pytest.mark.parametrize("value", [[], "A=1", 5, [["A", "1"]]])
def test_build_args_are_an_object(value):
    assert messages(build_args=value) == {"build_args": "must be an object of strings"}


def test_build_args_have_string_values_and_names():
    assert messages(build_args={"A": 1, "B": None, "C": "1\n"}) == {
        "build_args.A": "must be a string",
        "build_args.B": "must not be null",
        "build_args.C": "must not contain control characters",
    }
    assert messages(build_args={"": "x"}) == {"build_args.": "must not be empty"}


def test_build_args_are_bounded():
    assert build(build_args={f"A{n}": "x" * 4096 for n in range(100)})
    many = {f"A{n}": None for n in range(101)}
    assert messages(build_args=many) == {"build_args": "must have at most 100 entries"}
    assert list(messages(build_args={"A": "x" * 4097})) == ["build_args.A"]
    assert list(messages(build_args={"x" * 254: "1"})) == ["build_args." + "x" * 64]


def test_all_problems_of_an_event_are_reported_together():
    refused = refusal(b'{"parser_id":null,"image":5}', Ce_Time="noon", X_Correlation_ID="x" * 300)
    assert refused.code == RefusalCode.INVALID_EVENT
    fields = [problem.field for problem in refused.errors]
    assert fields == ["time", "X-Correlation-ID", "parser_id", "image"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"parser_id":"p"} x',
        b"{'parser_id':'p'}",
        b'{"parser_id":"p","x":NaN}',
        b'{"parser_id":"p","x":-Infinity}',
        b'{"parser_id":"p","x":1e999}',
        b'{"parser_id":"p","x":' + b"9" * 5000 + b"}",
        b'{"parser_id":"p","x":"\xff"}',
        b'{"parser_id":"p","x":"\xc0\xa0"}',
        b'{"parser_id":"p","x":"\xed\xa0\x80"}',
        b'{"parser_id":"p","x":"\\ud800"}',
        b'{"parser_id":"p","\\uDC00":"x"}',
        '{"parser_id":"p"}'.encode("utf-16"),
        b'{"parser_id":"p","x":' + b"[" * 100_000,
        b'{"parser_id":"p","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"parser_id":"p","x":' + b'{"x":' * 100_000 + b"1" + b"}" * 100_001,
        b'{"parser_id":"p","x":' + b"[" * 200 + b"]" * 200 + b"}",
        b"[]",
        b"null",
        b"5",
        b'"{\\"parser_id\\":\\"p\\"}"',
    ],
)
def test_a_body_that_is_no_sound_json_object_is_refused_as_data(body):
    refused = refusal(body)
    assert refused.code == RefusalCode.INVALID_DATA
    assert [problem.field for problem in refused.errors] == ["data"]
    assert refused.detail.startswith("data: ")
    assert len(refused.detail) < 200


def test_a_number_of_thousands_of_digits_is_told_by_its_length():
    refused = refusal(b'{"parser_id":"p","x":' + b"9" * 5000 + b"}")
    assert refused.detail == "data: has a number of 5000 digits"


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"parser_id":"p"}',
        b'{"parser_id":"x","parser_id":"p"}',
        b'{"parser_id":"p","x":"\\ud83e\\udd84"}',
        b'{"parser_id":"p","x":-' + b"9" * 4000 + b"}",
        b'{"parser_id":"p","x":' + b"[" * 199 + b"]" * 199 + b"}",
        b'{"parser_id":"p","x":[' + b"[]," * 5000 + b"1]}",
        b'\n {"parser_id" : "p"}\r\n',
    ],
)
def test_unusual_but_sound_json_is_read(body):
    request = read(body)
    assert request.parser_id == "p"
    assert json.loads(request.event)["data"] == json.loads(body)


def test_emoji_and_64_kib_of_unknown_data_are_kept():
    request = build(note="🦄" * 16_384)
    assert json.loads(request.event)["data"]["note"] == "🦄" * 16_384


@pytest.mark.parametrize("content_type", ["", "application/x-www-form-urlencoded", "text/plain"])
def test_json_under_another_content_type_is_read_when_lenient_and_refused_when_strict(content_type):
    assert read(b'{"parser_id":"p"}', Content_Type=content_type).parser_id == "p"
    refused = refusal(b'{"parser_id":"p"}', Content_Type=content_type, strict=True)
    assert [problem.field for problem in refused.errors] == ["datacontenttype"]


def test_strict_takes_a_structured_event_without_datacontenttype_for_json():
    content_type = "application/cloudevents+json"
    body = structured(data={"parser_id": "p"})
    assert read(body, Content_Type=content_type, strict=True).parser_id == "p"


def test_an_object_inside_a_string_is_not_an_object():
    refused = refused_structured(data='{"parser_id":"p"}', datacontenttype="application/json")
    assert refused.detail == "data: must be a JSON object"


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"data": None},
        {"data_base64": "e30"},
        {"data_base64": "bm9uc2Vuc2U="},
        {"data_base64": "not base64!"},
        {"data_base64": "é"},
        {"data_base64": 5},
        {"data_base64": "e30=", "data": {"parser_id": "p"}},
        {"data_base64": ""},
    ],
)
def test_structured_data_that_cannot_be_read_is_named(event):
    refused = refused_structured(**event)
    assert refused.code == RefusalCode.INVALID_DATA
    assert [problem.field for problem in refused.errors] == ["data"]
