"""Events are answered without Flask unless requests are traced, and nobody can tell."""

from __future__ import annotations

import io
import json

import pytest

from lambda_builder.access.rules import SEND
from lambda_builder.errors import FieldProblem, RefusalCode, Refused
from lambda_builder.web.events import receive
from lambda_builder.web.gate import asks

START = "network.notifi.lambda.build.start"
CE = {"Ce-Type": START, "Ce-Source": "network.notifi.customer-1", "Ce-Id": "id-1"}
BODY = b'{"parser_id": "parser-1"}'
EVENT = {
    "specversion": "1.0",
    "id": "\ud800 é",
    "source": "s",
    "type": START,
    "data": {"parser_id": "p"},
}
BATCH = {"Content-Type": "application/cloudevents-batch+json"}
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
REQUESTS = {
    "binary": (CE, BODY),
    "empty": (CE, b""),
    "a reply preferred": ({**CE, "Prefer": "reply, wait=5"}, BODY),
    "a correlation ID": ({**CE, "X-Correlation-ID": "order-7"}, BODY),
    "an unusable correlation ID": ({**CE, "X-Correlation-ID": "a\tb"}, BODY),
    "one that is no ASCII": ({**CE, "Ce-Correlationid": "%C3%A9"}, BODY),
    "a lone surrogate": (STRUCTURED, json.dumps(EVENT).encode()),
    "structured": (STRUCTURED, json.dumps({**EVENT, "id": "é 1"}).encode()),
    "a batch": (BATCH, json.dumps([{**EVENT, "id": str(n)} for n in range(3)]).encode()),
    "a bad batch": (BATCH, b"[{}, 1]"),
    "an unknown type": ({**CE, "Ce-Type": "other"}, BODY),
    "an unknown format": ({"Content-Type": "application/cloudevents+xml"}, b"<event/>"),
    "no JSON": (CE, b'{"parser_id": NaN}'),
    "bad data": (CE, b'{"parser_id": "", "priority": "urgent"}'),
    "a cancel": ({**CE, "Ce-Type": "network.notifi.lambda.build.cancel"}, b'{"job_name": "j"}'),
    "too large": (CE, b" " * 70_000),
}
REFUSALS = {
    "full": Refused(RefusalCode.QUEUE_FULL, "job queue full", retry_after=7),
    "stopping": Refused(RefusalCode.SHUTTING_DOWN, "shutting down"),
    "fields": Refused(RefusalCode.INVALID_DATA, "x: bad", errors=[FieldProblem("x", "bad")]),
    "a bug": RuntimeError("secret"),
}


@pytest.fixture
def houses(build_house, monkeypatch):
    """Two that give the same IDs: one answers events itself, the other through Flask."""
    monkeypatch.setattr("lambda_builder.web.correlation.fresh", lambda: "fresh")
    return [build_house(traced=traced, max_body_bytes=65_536) for traced in (False, True)]


def told(house, path, headers, body):
    """Return all that a sender and an operator see of one request."""
    answer = house.client.post(path, input_stream=io.BytesIO(body), headers=headers)
    text = house.client.get("/metrics").text
    counts = [line for line in text.splitlines() if line.startswith("cloudevents_")]
    counts = [line for line in counts if "_created" not in line]
    return answer.status, sorted(answer.headers), answer.data, counts, house.creator.rejected


def test_answers_are_the_same_with_and_without_flask(houses):
    for path in ("/events", "/"):
        for name, (headers, body) in REQUESTS.items():
            sent = {"Content-Length": str(len(body)), "Content-Type": "text/json", **headers}
            direct, through_flask = (told(house, path, sent, body) for house in houses)
            assert direct == through_flask, name
            assert direct[0] != "500 INTERNAL SERVER ERROR", name


def test_refusals_are_the_same_with_and_without_flask(houses):
    for name, refusal in REFUSALS.items():
        for house in houses:
            house.creator.refusal = refusal
        sent = {"Content-Length": str(len(BODY)), **CE}
        direct, through_flask = (told(house, "/events", sent, BODY) for house in houses)
        assert direct == through_flask, name
        assert b"secret" not in direct[2]


def test_only_traced_events_go_through_flask(houses):
    calls = []
    for number, house in enumerate(houses):
        for endpoint in ("events.receive", "events.receive_at_root"):

            def noted(number=number):
                calls.append(number)
                return receive()

            house.app.view_functions[endpoint] = asks(SEND)(noted)
        assert house.post().status_code == 200
    assert calls == [1]
