"""No input brings a 500: generated requests of all kinds against every route."""

from __future__ import annotations

import json
import random

import pytest

PATHS = ["/events", "/", "/async-jobs", "/async-jobs/stats", "/async-jobs/x", "/metrics", "/health",
         "/async-jobs/x/retry", "/async-jobs/x/logs", "/%FF%FE", "/async-jobs/%00", "/../..",
         "/async-jobs/%ED%A0%80", "/async-jobs//", "/openapi.json", "/events?x=%FF"]  # fmt: skip
METHODS = ["POST", "POST", "POST", "GET", "DELETE", "OPTIONS", "PUT", "HEAD", "BREW"]
TYPES = [None, "application/json", "Application/JSON ; charset=utf-8", "text/plain", "x", ";",
         "application/cloudevents+json", "application/cloudevents-batch+json",
         "multipart/form-data", "application/cloudevents+xml", "a/b; charset=nope",
         "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]  # fmt: skip
VALUES = ["", " ", "network.notifi.lambda.build.start", "network.notifi.lambda.build.cancel", "1.0",
          "%", "%C0%A0", "%00", "\u00ff\u00fe", '"', '"a\\"b"', "x" * 3000, "\u00e2\u0082\u00ac",
          "-1", "1e999", "a=b;c,d", "reply", "null", "[]", "2020-13-45T99:99:99Z", "*/*;q=x",
          "gzip", "bytes=0-1", "::::", "%F0%9F%9A%80"]  # fmt: skip
HEADERS = ["Ce-Type", "Ce-Id", "Ce-Source", "Ce-Specversion", "Ce-Time", "Ce-Correlationid",
           "X-Correlation-ID", "Prefer", "Host", "Accept", "Content-Encoding", "Cookie", "Expect",
           "Transfer-Encoding", "Content-Length", "Forwarded", "Traceparent", "Range",
           "WebHook-Request-Origin", "WebHook-Request-Rate", "If-None-Match"]  # fmt: skip
SCALARS = [None, True, -1, 10**400, 1.5, "", "x", "x" * 300, "\u0000", "\ud800", "🚀", [], {}]
FIELDS = ["parser_id", "third_party_id", "correlation_id", "priority", "build_args", "image",
          "id", "source", "type", "specversion", "data", "data_base64", "time"]  # fmt: skip


def some_json(rng, depth=0):
    if depth > 3 or rng.random() < 0.4:
        return rng.choice(SCALARS)
    if rng.random() < 0.2:
        return [some_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(FIELDS): some_json(rng, depth + 1) for _ in range(rng.randrange(6))}


def some_body(rng):
    body = json.dumps(some_json(rng)).encode()
    kind = rng.randrange(8)
    if kind == 0:
        return body[: rng.randrange(len(body) + 1)]
    if kind == 1:
        return rng.randbytes(rng.randrange(200))
    if kind == 2:
        return rng.choice([b"[", b'{"a":']) * 50_000
    if kind == 3:
        return b'{"parser_id": "' + b"x" * 65_536 + b'"}'
    return body


def series_of(house):
    lines = house.client.get("/metrics").text.splitlines()
    return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}


@pytest.mark.parametrize("seed", range(8))
def test_no_generated_request_gets_a_500_or_stops_what_comes_after(build_house, seed):
    rng = random.Random(seed)
    house = build_house(strict_cloudevents=bool(seed % 2))
    known = series_of(house)
    for _ in range(250):
        headers = {rng.choice(HEADERS): rng.choice(VALUES) for _ in range(rng.randrange(6))}
        if (content_type := rng.choice(TYPES)) is not None:
            headers["Content-Type"] = content_type
        request = {
            "path": rng.choice(PATHS),
            "method": rng.choice(METHODS),
            "headers": headers,
            "data": some_body(rng),
        }
        answer = house.client.open(**request)
        assert answer.status_code < 500, (request, answer.text)
        assert answer.headers["X-Correlation-ID"]
        answer.close()
    assert house.post(headers={"Ce-Specversion": "1.0"}).status_code == 200
    assert series_of(house) == known, "a label has a value from outside"
