"""Hostile bodies: JSON that is none, too deep, too large or of the wrong shape."""

from __future__ import annotations

import random
from typing import Any

from tests.hostile.messages import (
    BATCH,
    CANCEL,
    FIELDS,
    GOOD_DATA,
    TEXTS,
    VALUES,
    Hostile,
    binary,
    encoded,
    envelope,
    message,
    some_json,
    structured,
)

NO_JSON = [
    *(
        b"",
        b" ",
        b"null",
        b"NaN",
        b"-Infinity",
        b"{,}",
        b"[1,]",
        b'{"parser_id": "p",}',
        b"\x00" * 99,
    ),
    *(b'{"parser_id": "a", "parser_id": null}', b'// x\n{"parser_id": "a"}', b"{'parser_id': 'a'}"),
]
BAD_UTF8 = [
    *(b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80"),
    *(b"\xf0\x9f\x98", bytes(range(0x80, 0x100))),
]
NUMBERS = [b"-0", b"1e400", b"9" * 5000, b"-1e-999", b"1E5", b"0.1e1", b"01", b"+1"]
ATTRIBUTES = [
    "id",
    "source",
    "type",
    "specversion",
    "time",
    "subject",
    "dataschema",
    "correlationid",
]
EXTENSIONS = ["n", "N", "data", "data_base64", "a-b", "é", "x" * 300]
DEPTHS = [50, 199, 200, 201, 1000, 5_000, 100_000]
SIZES = [0, 0, 0, 65_536, 1_000_000, 1_048_576 - 60, 1_048_576, 3_000_000]
JOB_NAMES = ["build-x", "../../x", "🚀", "a" * 253, "", "%2e%2e"]


def broken_json(rng: random.Random) -> Hostile:
    """JSON that was cut, scratched or is a dialect."""
    body = encoded(rng, {"parser_id": "parser", "build_args": {"a": "b"}, "list": [1, 2.5]})
    place = rng.randrange(len(body))
    broken = [
        *rng.sample(NO_JSON, 4),
        body[:place],
        body[:place] + body[place + 1 :],
        body[:place] + bytes([rng.randrange(256)]) + body[place:],
        body + body,
        b"\xef\xbb\xbf" + body,
        body.decode().encode(rng.choice(["utf-16", "utf-32-le", "cp037"])),
    ]
    return Hostile(message(binary(rng), rng.choice(broken)))


def deep_nesting(rng: random.Random) -> Hostile:
    """Brackets in brackets, closed or not, wherever JSON may stand."""
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    depth = rng.choice(DEPTHS)
    nest = opening * depth + b"1" * rng.randrange(2) + closing * rng.choice([depth, depth, 0])
    event = encoded(rng, envelope(rng))[:-1] + b', "deep": ' + nest + b"}"
    return rng.choice(
        [
            Hostile(message(binary(rng), nest)),
            Hostile(message(binary(rng), GOOD_DATA[:-1] + b', "x": ' + nest + b"}")),
            structured(event),
            structured(b"[" + event + b"]", BATCH),
        ]
    )


def bad_utf8(rng: random.Random) -> Hostile:
    """Bytes that are no UTF-8, or should not be, in data, ids and headers."""
    bad = rng.choice(BAD_UTF8)
    body = b'{"parser_id": "p' + bad + b'"}'
    event = encoded(rng, envelope(rng)).replace(b"hostile", bad)
    heads = [
        binary(rng, Ce_Source=b"a" + bad),
        binary(rng, Ce_Id=bad, X_Correlation_ID=bad),
        binary(rng, Content_Type=b"application/json; x=" + bad),
    ]
    return rng.choice(
        [
            Hostile(message(binary(rng), body)),
            structured(event),
            structured(b"[" + event + b"]", BATCH),
            Hostile(message(rng.choice(heads), GOOD_DATA)),
        ]
    )


def odd_values(rng: random.Random) -> Hostile:
    """Fields and attributes of every type, and numbers of every size."""
    data = {"parser_id": "parser", rng.choice(FIELDS): rng.choice(VALUES)}
    number = rng.choice(NUMBERS)
    attribute = envelope(rng, **{rng.choice(ATTRIBUTES): rng.choice(VALUES)})
    extension = envelope(rng, **{rng.choice(EXTENSIONS): some_json(rng)})
    return rng.choice(
        [
            Hostile(message(binary(rng), encoded(rng, data))),
            Hostile(message(binary(rng), GOOD_DATA[:-1] + b', "n": ' + number + b"}")),
            Hostile(message(binary(rng), b'{"parser_id": ' + number + b"}")),
            Hostile(message(binary(rng), encoded(rng, some_json(rng)))),
            structured(encoded(rng, attribute)),
            structured(encoded(rng, extension)),
            structured(encoded(rng, some_json(rng))),
        ]
    )


def unicode_events(rng: random.Random) -> Hostile:
    """Good events in every script, some of them large."""
    text = rng.choice(TEXTS)
    data = {
        "parser_id": text,
        "third_party_id": rng.choice(["", text, "🚀 Ünïcode"]),
        "blob": "x" * rng.choice(SIZES),
    }
    return Hostile(message(binary(rng), encoded(rng, data)))


def odd_batches(rng: random.Random) -> Hostile:
    """Arrays of too few, too many, or things that are no events."""
    events: list[Any] = [envelope(rng) for _ in range(rng.choice([0, 1, 2, 10, 30, 101]))]
    for _ in range(rng.choice([0, 0, 1, 2])):
        events.insert(rng.randrange(len(events) + 1), some_json(rng))
    if events and rng.random() < 0.3:
        events.append(events[0])
    if rng.random() < 0.3:
        events.append(envelope(rng, type=CANCEL, data={"correlation_id": "nobody"}))
    odd = [{"0": events}, [events], events[0] if events else 1]
    body = rng.choice([events, events, events, rng.choice(odd)])
    return structured(encoded(rng, body), BATCH)


def cancels(rng: random.Random) -> Hostile:
    """Cancel events, most of which mean nothing."""
    targets = [
        {"correlation_id": rng.choice(VALUES)},
        {"job_name": rng.choice(JOB_NAMES)},
        {"third_party_id": "hostile", "parser_id": "parser"},
        some_json(rng),
    ]
    return Hostile(message(binary(rng, Ce_Type=CANCEL), encoded(rng, rng.choice(targets))))
