"""Refused events are kept for inspection: bounded, and without secrets."""

from __future__ import annotations

import json

from lambda_builder.journal import MemoryOutbox
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.rejections import Rejections
from lambda_builder.pipeline.stats import Counts


def rejections(*, sink: bool = False) -> tuple[Rejections, Counts, MemoryOutbox]:
    counts, outbox = Counts(), MemoryOutbox()
    announcer = Announcer(source="test", overrides={}, sink=sink, dead_letters=False)
    return Rejections(counts, announcer, outbox), counts, outbox


def add(kept: Rejections, body: bytes = b"{}", **headers: str) -> None:
    kept.add(
        "invalid_data",
        "parser_id: must not be null",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body,
        correlation_id="c-1",
    )


def test_the_excerpt_names_fields_and_never_values() -> None:
    kept, _, _ = rejections()
    body = json.dumps({"parser_id": None, "build_args": {"TOKEN": "hunter2"}}).encode()
    add(kept, body, Ce_Type="t", Ce_Source="https://user:hunter2@host/path?token=hunter2")
    (found,) = kept.newest()
    assert "hunter2" not in json.dumps(found)
    assert found["excerpt"]["fields"] == ["parser_id", "build_args"]
    assert found["excerpt"]["ce-source"] == "https://host/path"
    assert found["detail"] == "parser_id: must not be null"


def test_the_last_thousand_are_kept_newest_first() -> None:
    kept, counts, _ = rejections()
    for number in range(1100):
        add(kept, Ce_Id=str(number))
    assert len(kept.newest()) == 1000
    assert kept.newest()[0]["excerpt"]["ce-id"] == "1099"
    assert counts.snapshot()["rejected"] == {"invalid_data": 1100}


def test_hostile_bodies_and_headers_are_kept_in_bounds() -> None:
    kept, _, _ = rejections()
    for body in (b"", b"\xff\xfe", b"[" * 50_000, b"1", b'{"a":1}' * 20_000):
        add(kept, body, Ce_Source="http://[" + "x" * 10_000, Ce_Type="y" * 10_000)
    names = json.dumps({f"{n}" * 500: 1 for n in range(100)}).encode()
    add(kept, names)
    assert max(len(json.dumps(found)) for found in kept.newest()) < 5000


def test_a_rejection_is_told_where_there_is_a_sink() -> None:
    kept, _, outbox = rejections(sink=True)
    add(kept, b'{"parser_id": null}')
    (message,) = outbox.due(2e9, 10, "sink")
    assert message.headers["ce-type"] == "network.notifi.lambda.build.rejected"
    assert json.loads(message.body)["code"] == "invalid_data"
