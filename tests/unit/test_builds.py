"""Names and identities of builds."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    CommandRequest,
    FailureCategory,
    Mark,
    Priority,
    fields_marked,
    job_name,
    netstring_digest,
)
from lambda_builder.events.data import BuildData
from lambda_builder.kube.labels import ANNOTATIONS
from lambda_builder.kube.status import job_result
from lambda_builder.manifest.placeholders import FIELDS
from lambda_builder.manifest.template import JobTemplate
from lambda_builder.settings import Settings

DIGEST = netstring_digest("network.notifi.customer-1", "id-1")


def test_the_hash_of_an_event_is_that_of_its_netstrings() -> None:
    assert DIGEST[:10] == "5377b83a48"


def test_source_and_id_cannot_be_shifted_into_each_other() -> None:
    assert netstring_digest("ab", "c") != netstring_digest("a", "bc")


@pytest.mark.parametrize(
    ("third_party_id", "parser_id", "expected"),
    [
        ("customer-1", "parser-1", "build-customer-1-parser-1-5377b83a48"),
        ("Customer_1", "PARSER..1", "build-customer-1-parser-1-5377b83a48"),
        ("", "---", "build-x-x-5377b83a48"),
        ("☃", "日本", "build-x-x-5377b83a48"),
        ("a" * 60, "b" * 5, f"build-{'a' * 40}-bbbbb-5377b83a48"),
        ("a" * 5, "b" * 60, f"build-aaaaa-{'b' * 40}-5377b83a48"),
        ("a" * 60, "b" * 60, f"build-{'a' * 22}-{'b' * 22}-5377b83a48"),
        ("a" * 21 + "-zzz", "b" * 60, f"build-{'a' * 21}-{'b' * 22}-5377b83a48"),
        ("a" * 60, "b" * 21 + "-zzz", f"build-{'a' * 22}-{'b' * 21}-5377b83a48"),
    ],
)
def test_job_names_follow_the_contract(third_party_id: str, parser_id: str, expected: str) -> None:
    assert job_name(third_party_id, parser_id, DIGEST) == expected


@given(st.text(), st.text())
def test_every_job_name_is_a_dns_label_of_at_most_63_characters(first: str, second: str) -> None:
    name = job_name(first, second, DIGEST)
    assert len(name) <= 63
    assert re.fullmatch(r"build-[a-z0-9]+(-[a-z0-9]+)+", name)


@given(
    st.builds(
        BuildRequest,
        event_id=st.text(),
        event_source=st.text(),
        event_type=st.text(),
        parser_id=st.text(),
        third_party_id=st.text(),
        correlation_id=st.text(),
        event_hash=st.text(),
        job_name=st.text(),
        priority=st.sampled_from(Priority),
        build_args=st.dictionaries(st.text(), st.text()),
        image=st.none() | st.text(),
    )
)
def test_a_request_survives_the_journal(request: BuildRequest) -> None:
    assert BuildRequest.from_json(request.to_json()) == request


def test_a_request_of_another_version_is_read_as_far_as_it_is_known() -> None:
    text = (
        '{"event_id":"1","event_source":"s","event_type":"t","parser_id":"p","priority":"high",'
        '"third_party_id":"c","correlation_id":"1","event_hash":"h","job_name":"j","new":1}'
    )
    assert BuildRequest.from_json(text).priority is Priority.HIGH


def test_an_event_of_bytes_that_are_no_unicode_survives_the_journal() -> None:
    request = dataclasses.replace(BuildRequest.of_job("j", DIGEST, {}), event=b'"\xed\xa0\x80"')
    assert BuildRequest.from_json(request.to_json()) == request


@given(st.text(), st.none() | st.text())
def test_a_cancel_survives_the_journal(text: str, target: str | None) -> None:
    request = CommandRequest(
        event_id=text, event_source="s", event_type="t", correlation_id="c", job_name=target
    )
    assert CommandRequest.from_json(request.to_json()) == request


def test_a_cancel_of_another_version_is_read_as_far_as_it_is_known() -> None:
    text = '{"event_id":"1","event_source":"s","event_type":"t","correlation_id":"c","new":1}'
    assert CommandRequest.from_json(text).event_hash == netstring_digest("s", "1")


def test_the_log_names_a_build_by_its_ids_and_trace() -> None:
    ids = {"event_id": "e", "parser_id": "p", "third_party_id": "t", "correlation_id": "c"}
    request = BuildRequest.of_job("build-1", DIGEST, ids)
    traced = dataclasses.replace(request, traceparent="00-abc-def-01")
    assert request.log_fields() == {**ids, "job_name": "build-1"}
    assert traced.log_fields() == {**ids, "job_name": "build-1", "trace_id": "abc"}


def test_a_letter_beyond_ascii_counts_as_much_as_it_may_take() -> None:
    request = dataclasses.replace(
        BuildRequest.of_job("j", DIGEST, {}), event=b"12345", build_args={"key": "ä☃"}
    )
    assert request.event_bytes == 5 + 3 + 4 * 2
    assert request.without_event().event_bytes == 0


def test_a_build_is_shown_with_every_field_of_the_contract() -> None:
    request = BuildRequest(
        event_id="1",
        event_source="s",
        event_type="t",
        parser_id="p",
        third_party_id="c",
        correlation_id="corr",
        event_hash="h",
        job_name="j",
        priority=Priority.HIGH,
        accepted_at=1.5,
    )
    result = BuildResult(
        request=request,
        state=BuildState.FAILED,
        attempts=2,
        error=BuildError("job_failed", "no", FailureCategory.DISK),
        job_uid="uid",
        namespace="ns",
        image="i",
        image_digest="sha256:d",
        created_at=2.0,
        started_at=3.0,
        finished_at=4.0,
    )
    assert result.to_dict() == {
        "job_name": "j",
        "correlation_id": "corr",
        "state": "failed",
        "job_uid": "uid",
        "namespace": "ns",
        "attempts": 2,
        "error": {"code": "job_failed", "message": "no"},
        "failure_category": "disk",
        "event": {"id": "1", "source": "s", "type": "t"},
        "third_party_id": "c",
        "parser_id": "p",
        "priority": "high",
        "image": "i",
        "image_digest": "sha256:d",
        "accepted_at": "1970-01-01T00:00:01.500Z",
        "created_at": "1970-01-01T00:00:02.000Z",
        "started_at": "1970-01-01T00:00:03.000Z",
        "finished_at": "1970-01-01T00:00:04.000Z",
    }


def test_absent_values_are_null_and_times_are_rfc_3339_in_utc() -> None:
    request = BuildRequest(
        event_id="1",
        event_source="s",
        event_type="t",
        parser_id="p",
        third_party_id="c",
        correlation_id="1",
        event_hash="h",
        job_name="j",
        accepted_at=1.5,
    )
    shown = BuildResult(request=request, state=BuildState.QUEUED).to_dict()
    assert shown["accepted_at"] == "1970-01-01T00:00:01.500Z"
    assert shown["error"] is None
    assert shown["finished_at"] is None


def test_every_field_of_a_build_is_a_placeholder_or_named_as_none():
    text = {field.name for field in dataclasses.fields(BuildRequest)} - {"build_args", "event"}
    assert text - {"context_url", "image"} <= set(FIELDS)  # the template adds these two


def test_every_field_that_a_job_notes_is_read_back_from_it():
    texts: dict[str, Any] = {name: f"{name}-1" for name in ANNOTATIONS}
    texts |= {"event_hash": netstring_digest("event_source-1", "event_id-1"), "job_name": "build-1"}
    request = BuildRequest(**{**texts, "accepted_at": 1.5, "priority": Priority.HIGH})
    noted = job_result(JobTemplate.from_settings(Settings()).render(request)).request
    for name in ANNOTATIONS:
        assert getattr(noted, name) == getattr(request, name)


def test_the_data_of_an_event_has_the_fields_that_the_reader_takes():
    assert set(fields_marked(Mark.DATA)) | {"correlation_id"} == set(BuildData.model_fields)


def test_no_time_of_a_build_is_before_that_of_an_earlier_step() -> None:
    request = BuildRequest.of_job("build-1", DIGEST, {"accepted_at": 1_800_000_000.7})
    whole = 1_800_000_000.0  # the API's clock, in whole seconds
    result = BuildResult(
        request=request,
        state=BuildState.SUCCEEDED,
        created_at=whole,
        started_at=whole,
        finished_at=whole + 3,
    )
    shown = result.to_dict()
    assert shown["created_at"] == shown["accepted_at"] == shown["started_at"]
    assert shown["finished_at"] == "2027-01-15T08:00:03.000Z"
    assert result.but(started_at=None, finished_at=None).to_dict()["started_at"] is None
