"""Builds and messages survive being a row."""

from __future__ import annotations

import sqlite3

import pytest

from lambda_builder.builds import BuildError, BuildResult, BuildState, FailureCategory, Priority
from lambda_builder.journal import OutboxMessage
from lambda_builder.journal.rows import (
    Unreadable,
    message_of,
    message_row,
    plain,
    request_of,
    request_row,
    result_of,
    result_row,
)
from tests.journals import make_request

ODD_TEXTS = [
    "",
    "plain",
    "żółw 🐢",
    "nul\0inside",
    "lone \udcff surrogate",
    '"quoted"\n',
    "x" * 9000,
]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_request_with_any_text_comes_back_as_it_was(text):
    request = make_request(
        1,
        event_id=text,
        correlation_id=text,
        event=text.encode("utf-8", "surrogatepass"),
        build_args={"arg": text},
        priority=Priority.HIGH,
        traceparent="00-1-2-01",
    )

    assert request_of(request_row(request)[3]) == request


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_every_column_can_be_stored_by_sqlite(text):
    row = request_row(make_request(1, event_hash=text, correlation_id=text, job_name=text))
    connection = sqlite3.connect(":memory:")

    stored = connection.execute("SELECT ?, ?, ?, ?, ?", row).fetchone()
    connection.close()

    assert stored == row


def test_texts_that_differ_only_in_a_surrogate_are_told_apart():
    assert plain("a\udcff") != plain("a\udcfe")


@pytest.mark.parametrize(
    "outcome",
    [
        {"state": BuildState.CREATED, "job_uid": "u-1", "namespace": "n", "created_at": 12.5},
        {"state": BuildState.DEAD, "error": BuildError("panic", "żle 🐢 \udcff"), "attempts": 4},
        {"state": BuildState.SUCCEEDED, "image": "i:1", "started_at": 1.0, "finished_at": 2.0},
        {"state": BuildState.CANCELLED, "error": BuildError("cancelled", "")},
        {"state": BuildState.FAILED, "error": BuildError("f", "m", FailureCategory.DISK)},
        {"state": BuildState.SUCCEEDED, "image_digest": f"sha256:{'0' * 64}"},
    ],
)
def test_an_outcome_comes_back_as_it_was(outcome):
    result = BuildResult(request=make_request(1), **outcome)

    row = result_row(result, 5.0)

    assert result_of(row[3:7]) == result


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b'"x"', b'{"priority":"normal"}', b"\xff\xfe\x00", b"[" * 9999],
)
def test_a_request_that_was_never_one_is_unreadable(text):
    with pytest.raises(Unreadable):
        request_of(text)


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("no such state", None), ("dead", b"[1]"), ("dead", b'{"error":[1,2,3]}')],
)
def test_an_outcome_that_was_never_one_is_unreadable(state, outcome):
    with pytest.raises(Unreadable):
        result_of((request_row(make_request(1))[3], 0, state, outcome))


def test_a_message_comes_back_as_it_was():
    message = OutboxMessage("sink", "key", {"ce-id": "żółw", "ce-odd": "\udcff"}, b"\0\xff", "id-1")

    message_id, destination, key, headers, body = message_row(message)

    assert message_of((destination, key, headers, body, message_id, 0)) == message


@pytest.mark.parametrize("headers", [b"[]", b"{", b"\xff"])
def test_headers_that_were_never_any_are_unreadable(headers):
    with pytest.raises(Unreadable):
        message_of(("sink", "key", headers, b"", "id", 0))
