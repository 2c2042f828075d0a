"""Hostile heads: content types, attributes, framing, and bodies in chunks."""

from __future__ import annotations

import random

from tests.hostile.messages import (
    BATCH,
    BUILD,
    GOOD_DATA,
    STRUCTURED,
    Headers,
    Hostile,
    binary,
    encoded,
    envelope,
    message,
    with_lines,
)

CONTENT_TYPES = [
    *(None, "", ";", "x", "*/*", "application/json; charset=utf-16", "Application/JSON ; a=b"),
    *(
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "a/b/c",
    ),
    *("multipart/form-data", "application/cloudevents+xml", "application/cloudevents"),
    *(STRUCTURED.upper(), f"{STRUCTURED}; charset=klingon", f'{BATCH}; a="\\"', "text/json;;;;"),
    *("application/cloudevents-batch+avro", "application/json" * 400),
]
SECOND_TYPES: list[Headers] = [[], [("Content-Encoding", "gzip")], [("Content-Type", "text/plain")]]
ATTRIBUTES = [
    *("Ce-Id", "Ce-Source", "Ce-Type", "Ce-Specversion", "Ce-Time", "CE-SUBJECT", "Ce-", "Ce-Data"),
    "Prefer",
    *(
        "Ce-Datacontenttype",
        "ce-a-b",
        "ce-Correlationid",
        "X-Correlation-ID",
        "Traceparent",
        "Prefer",
    ),
]
ENCODED = [
    *("", '"', '""', '"a\\"b"', '"a\\', "%", "%4", "%zz", "%00", "%0d%0aX-Evil: 1", "%25%32%35"),
    *("%C0%AE", "%ED%A0%80", "%F0%9F%9A%80", "%e2%82%ac", "€", "a, b", "x" * 1024, "x" * 1025),
    *("1.0", "0.3", "2", "1.0 ", BUILD.upper(), "%6eetwork", "1969-12-31T24:00:00Z"),
]
CORRELATION_IDS = ["", "x" * 254, "é" * 100, "a\tb", "😀"]
BROKEN_LINES = [
    *("X: a\r\n b", "X: a\r\n\tb", "X : a", ": a", "X", "X: \x00", "X: a\rb", "X: a\nY: b"),
    *("X\x7f: a", "É: a", "X: " + "a" * 60_000, "X: " + "a" * 70_000, "X" * 9_000 + ": a"),
    *("\r\n".join(f"X-{n}: a" for n in range(150)), "Ce_Id: a", "Host: y", "Expect: 200-ok"),
    *("Expect: 100-continue", "Connection: \x01", "Trailer: Content-Length"),
    "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA",
    "X-Forwarded-Proto: http\r\nX-Forwarded-Ssl: on",
]
LENGTH = f"Content-Length: {len(GOOD_DATA)}"
CODINGS = [
    *(
        "gzip, chunked",
        "chunked, chunked",
        "identity",
        "gzip",
        "",
        "chunked;q=1",
        "cow",
        "xchunked",
    ),
    *("chunked", "\x0bchunked", "chunked, identity"),
]
LENGTHS = ["-1", "+5", "5, 5", "0x12", "²", "", "1_8", "9" * 5000]
SIZE = b"%x" % len(GOOD_DATA)
CHUNKED = SIZE + b"\r\n" + GOOD_DATA + b"\r\n0\r\n\r\n"
END = b"0\r\n\r\n"
CHUNKS = [
    *(CHUNKED, END, b"-5" + CHUNKED, b"zz\r\n" + CHUNKED, b"\r\n" + CHUNKED, b"1;" + CHUNKED),
    *(CHUNKED.replace(END, b"0\r\nX: y\r\n\r\n"), CHUNKED.replace(END, b"0\r\nHost: y\r\n\r\n")),
    *(CHUNKED.replace(SIZE, SIZE + b";a=b"), CHUNKED.replace(SIZE, SIZE + b';a="\r"')),
    *(CHUNKED.replace(SIZE, b" " + SIZE), CHUNKED.replace(GOOD_DATA, GOOD_DATA + b"x")),
    *(b"0" * 5000 + CHUNKED, b"".join(b"1\r\n%c\r\n" % byte for byte in GOOD_DATA) + END),
    *(b"f" * 16 + b"\r\n" + GOOD_DATA, CHUNKED[: -len(END)], b"10000000\r\n" + b"x" * 2_000_000),
]


def content_types(rng: random.Random) -> Hostile:
    """Content types that exist, that do not, and that are none."""
    head = [*binary(rng, Content_Type=rng.choice(CONTENT_TYPES)), *rng.choice(SECOND_TYPES)]
    event = encoded(rng, envelope(rng))
    return Hostile(message(head, rng.choice([GOOD_DATA, event, b"--x\r\n\r\n--x--", b""])))


def ce_headers(rng: random.Random) -> Hostile:
    """Attributes sent twice, quoted, percent-encoded once too often or not at all."""
    name = rng.choice(ATTRIBUTES)
    head = binary(rng)
    if rng.random() < 0.5:
        head = [item for item in head if item[0].lower() != name.lower()]
    head += [(name, rng.choice(ENCODED))] * rng.choice([1, 1, 2, 20])
    return Hostile(message(head, GOOD_DATA))


def broken_headers(rng: random.Random) -> Hostile:
    """Header sections that are too large, folded, or no header sections at all."""
    good = binary(rng, X_Correlation_ID=rng.choice(CORRELATION_IDS))
    return Hostile(with_lines(message(good, GOOD_DATA), rng.choice(BROKEN_LINES)))


def framing(rng: random.Random) -> Hostile:
    """Lengths and codings that contradict each other, or make no sense."""
    coding = f"Transfer-Encoding: {rng.choice(CODINGS)}"
    lines = rng.choice(
        [
            [coding],
            [LENGTH, coding],
            [f"Content-Length: {rng.choice(LENGTHS)}"],
            [LENGTH, rng.choice([LENGTH, "Content-Length: 5"])],
            [],
        ]
    )
    version = rng.choice(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"])
    # The end of a line, so that no server can wait for the rest of a chunk's size.
    raw = message(binary(rng), GOOD_DATA + b"\r\n", version=version, framed=False)
    return Hostile(with_lines(raw, *lines))


def chunked(rng: random.Random) -> Hostile:
    """Chunked bodies, good and bad."""
    chunks = rng.choice(CHUNKS)
    head = [*binary(rng), ("Transfer-Encoding", "chunked")]
    return Hostile(message(head, chunks, framed=False), whole=chunks.endswith(END))


def cut_short(rng: random.Random) -> Hostile:
    """A good request whose sender goes away in the middle of it."""
    raw = message(binary(rng), GOOD_DATA)
    return Hostile(raw[: rng.randrange(len(raw))], whole=False)
