"""Hostile request lines: methods, targets and versions of all kinds, and ids that are none."""

from __future__ import annotations

import random
from urllib.parse import quote

from tests.hostile.messages import Hostile, message

METHODS = [
    *("POST", "POST", "GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT"),
    *("BREW", "post", "P", "PO ST", "P\x00ST", "X" * 30),
]
TARGETS = [
    *("/events", "/", "//", "/events/", "/events?", "/events?x=%FF&x", "/EVENTS", "/events%00", ""),
    *("http://elsewhere/events", "*", "events", "x:80", "/" + "a" * 8100, "/" + "a" * 9000),
    *(
        "/é",
        "/a b",
        "/%",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/../health",
        "/health;x",
        "/health#x",
        "/[::1",
    ),
    *("/health", "/ready", "/metrics", "/openapi.json", "/async-jobs/stats", "/static/x", "/[::1"),
]
VERSIONS = [*("HTTP/1.1",) * 6, "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/1.10", "ICY"]
ACCEPT = ["*/*", "", "text/plain; version=x", "application/openmetrics-text;"]
ORIGINS = ["a.example", "é", "x" * 300, "", "a b"]
RATES = ["120", "-1", "0", "9" * 400, "*"]
IDS = [
    *(
        "x",
        "%2F",
        "%2e%2e%2f",
        "..",
        ".",
        "a%00b",
        "%ED%A0%80",
        "%FF%FE",
        "%",
        "%zz",
        "%25",
        ";",
        "",
    ),
    *(
        "a/b//c",
        "//",
        "stats",
        "STATS",
        "stats/",
        "build-",
        "a" * 300,
        "a" * 7000,
        "🚀",
        quote("🚀"),
    ),
    *(
        quote("a b+c&d=e?f#g", safe=""),
        "${jndi:ldap}",
        "' or 1=1",
        "a?b",
        "-1",
        "_",
        "*",
        "%2Flogs",
    ),
    *("%0d%0aX-Evil:%201", "retry", "logs", "x/retry/retry", "x/logs/logs", quote("🚀")),
]
ACTIONS = ["", "", "", "/retry", "/logs", "/logs?follow=true", "/logs?follow=maybe", "/"]
QUERIES = [
    *("state=dead", "state=nope", "limit=0", "limit=501", "limit=-1", "limit=1e3", "limit=%D9%A3"),
    *("cursor=x", "cursor=MQ", "cursor=" + "9" * 400, "cursor=%FF", "third_party_id=%00", "x=y"),
    *("correlation_id=" + quote("🚀"), "state=&limit=", "limit=1&limit=2", "&&&", "=", "%"),
]


def request_lines(rng: random.Random) -> Hostile:
    """Methods, targets and versions of all kinds."""
    raw = message(
        [
            ("Accept", rng.choice(ACCEPT)),
            ("WebHook-Request-Origin", rng.choice(ORIGINS)),
            ("WebHook-Request-Rate", rng.choice(RATES)),
        ],
        method=rng.choice(METHODS),
        target=rng.choice(TARGETS),
        version=rng.choice(VERSIONS),
    )
    return Hostile(raw)


def job_paths(rng: random.Random) -> Hostile:
    """Reading and steering builds by ids and parameters that are none."""
    target = f"/async-jobs/{rng.choice(IDS)}{rng.choice(ACTIONS)}"
    if rng.random() < 0.25:
        target = f"/async-jobs?{rng.choice(QUERIES)}"
    method = rng.choice([*("GET",) * 4, "DELETE", "POST", "PUT", "HEAD", "OPTIONS"])
    return Hostile(message([], method=method, target=target))
