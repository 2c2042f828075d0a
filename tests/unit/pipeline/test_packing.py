"""Ended builds as they are kept: nothing of them is lost."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from lambda_builder.builds import (
    BuildError,
    BuildRequest,
    BuildResult,
    BuildState,
    FailureCategory,
    Priority,
)
from lambda_builder.pipeline.packing import (
    category_of,
    key_digest,
    key_of,
    pack,
    place_of_kept,
    searched_of,
    state_of,
    unpack,
)
from lambda_builder.selection import place_of, searched

HASH = "5f" * 32
REQUEST = BuildRequest(
    event_id="Id-1",
    event_source="network.notifi.customer-1",
    event_type="network.notifi.lambda.build.start",
    parser_id="parser-1",
    third_party_id="customer-1",
    correlation_id="Correlation-1",
    event_hash=HASH,
    job_name="build-customer-1-parser-1-5f5f5f5f5f",
    priority=Priority.HIGH,
    runtime="nodejs20",
    context_url="s3://bucket/context.tar.gz",
    image="registry/wanted:1",
    content_hash="abc",
    traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    accepted_at=1_795_000_000.125,
)
FULL = BuildResult(
    request=REQUEST,
    state=BuildState.FAILED,
    attempts=3,
    error=BuildError("build_failed", "No such File", FailureCategory.DOCKERFILE),
    job_uid="uid-1",
    namespace="builds",
    image="registry/made:1",
    image_digest="sha256:1",
    created_at=1_795_000_001.0,
    started_at=1_795_000_002.0,
    finished_at=1_795_000_003.0,
)
LITTLE = BuildResult(
    request=replace(
        REQUEST,
        priority=Priority.LOW,
        event_hash="no hash",
        accepted_at=0.0,
        **dict.fromkeys(
            ("runtime", "context_url", "image", "content_hash", "traceparent"),
        ),
    ),
    state=BuildState.CANCELLED,
)


def packed(result: BuildResult) -> object:
    return pack(key_of(result.request.event_hash), result)


def test_every_field_is_in_one_of_these_builds():
    values = [getattr(FULL, each.name) for each in fields(FULL)]
    request = [
        getattr(REQUEST, each.name)
        for each in fields(REQUEST)
        if each.name not in ("event", "build_args")
    ]
    assert all((*values, *request))


@pytest.mark.parametrize("result", [FULL, LITTLE])
def test_a_build_is_the_same_after_it_was_packed(result: BuildResult):
    kept = packed(result)
    assert type(kept) is tuple
    assert unpack(kept) == result
    assert place_of_kept(kept) == place_of(result)
    assert state_of(kept) == result.state
    assert category_of(kept) == (result.error and result.error.category)
    for text in searched((result,)).strip("\x1f").split("\x1f"):
        assert f"\x1f{text}\x1f" in searched_of(kept)


@pytest.mark.parametrize(
    "change",
    [{"event": b"{}"}, {"build_args": {"A": "1"}}, {"traceparent": ""}, {"event_id": "a\x1fb"}],
)
def test_what_would_be_lost_is_not_packed(change: dict[str, object]):
    result = FULL.but(request=replace(REQUEST, **change))  # type: ignore[arg-type]
    assert packed(result) is result
    assert unpack(result) is result
    assert state_of(result) == "failed"
    assert category_of(result) == "dockerfile"
    assert place_of_kept(result) == place_of(result)


@pytest.mark.parametrize("event_hash", [HASH, HASH[:32], HASH.upper(), "no hash", "", "5f5"])
def test_a_key_stands_for_one_hash_and_has_the_digest_of_its_place(event_hash: str):
    key = key_of(event_hash)
    kept = FULL.but(request=replace(REQUEST, event_hash=event_hash))
    assert unpack(pack(key, kept)).request.event_hash == event_hash
    assert key_digest(key) == place_of(kept)[2]
