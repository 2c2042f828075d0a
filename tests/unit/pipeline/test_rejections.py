"""Refused events are kept for inspection: bounded, and without secrets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from lambda_builder.builds import parse_time
from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal import MemoryOutbox, NoJournal
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.rejections import Rejections
from lambda_builder.pipeline.stats import Counts

SOURCE = "lambda-builder/here"


def rejections(
    *, sink: bool = False, clock: Callable[[], float] = lambda: 0.0
) -> tuple[Rejections, Counts, MemoryOutbox]:
    counts, journal = Counts(), NoJournal()
    announcer = Announcer(source=SOURCE, overrides={}, sink=sink, dead_letters=False)
    return Rejections(counts, announcer, journal, clock=clock), counts, journal.outbox


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
    told = json.loads(message.body)
    assert told["code"] == "invalid_data"
    assert told["correlation_id"] == "c-1"
    assert "must not be null" in json.dumps(told)


def test_all_that_is_known_of_a_refused_event_is_kept() -> None:
    kept, _, _ = rejections()
    add(kept, b'{"parser_id": null}', Ce_Type="t", Ce_Id="7", Content_Type="application/json")
    (found,) = kept.newest()
    assert time.time() - 60 < parse_time(found.pop("time")) <= time.time()
    assert found == {
        "code": "invalid_data",
        "detail": "parser_id: must not be null",
        "correlation_id": "c-1",
        "excerpt": {
            "ce-type": "t",
            "ce-id": "7",
            "content-type": "application/json",
            "bytes": 19,
            "fields": ["parser_id"],
        },
    }


@pytest.mark.parametrize("form", ["binary", "structured", "batch"])
def test_the_rejection_of_an_upstream_event_is_told_in_its_family(form: str) -> None:
    kept, _, outbox = rejections(sink=True)
    event_type = "io.knative.lambda.command.build.start"
    event = {"type": event_type, "data": {}}
    if form == "binary":
        add(kept, b"{}", Ce_Type=event_type)
    else:
        add(kept, json.dumps(event if form == "structured" else [1, event]).encode())
    (message,) = outbox.due(2e9, 10, "sink")
    assert message.headers["ce-type"] == "io.knative.lambda.lifecycle.build.rejected"


NEWS = ("accepted", "started", "complete", "failed", "timeout", "cancelled", "rejected")
LIFECYCLE = (*NEWS, "completed", "something-of-a-later-version")


@pytest.mark.parametrize("form", ["binary", "structured", "batch"])
@pytest.mark.parametrize(
    ("event_type", "source"),
    [
        *((f"network.notifi.lambda.build.{kind}", "another/namespace") for kind in NEWS),
        *((f"io.knative.lambda.lifecycle.build.{kind}", "another") for kind in LIFECYCLE),
        ("of.a.later.version", SOURCE),
    ],
)
def test_the_refusal_of_an_event_that_the_service_sent_is_told_to_nobody(
    event_type: str, source: str, form: str
) -> None:
    kept, counts, outbox = rejections(sink=True)
    attributes = {"type": event_type, "source": source, "id": "1"}
    if form == "binary":
        add(kept, b"{}", Ce_Type=event_type, Ce_Source=source)
    elif form == "structured":
        add(kept, json.dumps(attributes).encode())
    else:
        add(kept, json.dumps([1, {"type": "another"}, attributes]).encode())
    assert outbox.pending() == 0
    assert len(kept.newest()) == 1
    assert counts.snapshot()["rejected"] == {"invalid_data": 1}


@pytest.mark.parametrize(
    "event_type",
    [
        "network.notifi.lambda.build.start",
        "network.notifi.lambda.build.cancel",
        "io.knative.lambda.command.build.start",
        "",
    ],
)
def test_the_refusal_of_anybody_elses_event_is_told(event_type: str) -> None:
    kept, _, outbox = rejections(sink=True)
    add(kept, b"{}", Ce_Type=event_type, Ce_Source="network.notifi.customer-1")
    assert outbox.pending() == 1


def test_refusals_are_told_at_a_bounded_rate_whatever_comes() -> None:
    now = [0.0]
    kept, _, outbox = rejections(sink=True, clock=lambda: now[0])
    told = []
    for second in range(600):
        now[0] = float(second)
        for number in range(20):
            add(kept, f"{second}-{number}".encode())
        told.append(outbox.pending())
        for message in outbox.due(2e9, 1000, "sink"):
            outbox.delivered(message.id)
    assert sum(told[:60]) <= 120
    assert sum(told[60:]) <= 540 + 1
    assert sum(told) >= 600
    now[0] += 1000.0
    add(kept, b"quiet has come back")
    assert outbox.pending() == 1


def test_a_refusal_is_kept_and_counted_though_the_journal_is_closed(monkeypatch):
    kept, _, outbox = rejections(sink=True)

    def refuse(messages, *, durable=False):
        raise Refused(RefusalCode.JOURNAL_UNAVAILABLE, "journal is closed")

    monkeypatch.setattr(outbox, "put", refuse)
    kept.add("invalid_data", "no", headers={}, body=b"{}", correlation_id=None)
    assert [each["code"] for each in kept.newest()] == ["invalid_data"]
