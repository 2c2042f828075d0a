"""What hostile requests are made of: messages, events that are good but for one thing, values."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

BUILD = "network.notifi.lambda.build.start"
CANCEL = "network.notifi.lambda.build.cancel"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
GOOD_DATA = b'{"parser_id": "p"}'

Headers = list[tuple[str, str | bytes]]

TEXTS = [
    *(
        "",
        " ",
        "x",
        "x" * 253,
        "x" * 254,
        "\x00",
        "a\nb",
        "\x7f",
        "\ud800",
        "\ufeff",
        "../..",
        "%s",
    ),
    *("${parser_id}", "{{7*7}}", "'; drop table builds; --", "-", "a/b//c", "UPPER", "1", "null"),
    *("🚀", "👩‍👩‍👧‍👦", "İstanbul", "ﷺ", "مرحبا", "e\u0301", "\u202eabc", "\u200b", "日本語" * 80),
]
VALUES: list[Any] = [
    *TEXTS,
    *(None, True, False, 0, -1, 1.5, -0.0, 10**18, -(10**400), 2**63, 1e-300, [], {}, [[]]),
]
FIELDS = [
    *("parser_id", "third_party_id", "correlation_id", "priority", "runtime", "context_url"),
    *("image", "content_hash", "build_args", "unknown", "", "job_name"),
]


@dataclass(frozen=True)
class Hostile:
    """One message; ``whole`` unless it ends before HTTP lets a server answer."""

    raw: bytes
    whole: bool = True


def message(
    headers: Headers,
    body: bytes = b"",
    *,
    method: str = "POST",
    target: str = "/events",
    version: str = "HTTP/1.1",
    framed: bool = True,
) -> bytes:
    """Return the bytes of a request; ``framed`` adds its Content-Length."""
    lines = [f"{method} {target} {version}".encode("utf-8", "surrogatepass"), b"Host: x"]
    if framed and (body or method == "POST"):
        lines.append(b"Content-Length: %d" % len(body))
    lines += [name.encode() + b": " + _bytes(value) for name, value in headers]
    return b"\r\n".join([*lines, b"", b""]) + body


def with_lines(raw: bytes, *lines: str) -> bytes:
    """Put raw header lines at the end of a message's head."""
    added = "".join(f"\r\n{line}" for line in lines)
    return raw.replace(b"\r\n\r\n", added.encode() + b"\r\n\r\n", 1)


def binary(rng: random.Random, **changes: str | bytes | None) -> Headers:
    """Return the headers of a good event but for ``changes``; None leaves one out."""
    good: dict[str, str | bytes | None] = {
        "Ce-Specversion": "1.0",
        "Ce-Type": BUILD,
        "Ce-Source": "network.notifi.hostile",
        "Ce-Id": fresh_id(rng),
        "Content-Type": "application/json",
    }
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    return [(name, value) for name, value in {**good, **named}.items() if value is not None]


def structured(body: bytes, content_type: str = STRUCTURED) -> Hostile:
    """Return an event, or whatever ``body`` is, under an envelope's content type."""
    return Hostile(message([("Content-Type", content_type)], body))


def envelope(rng: random.Random, **changes: Any) -> dict[str, Any]:
    """Return a good structured event but for ``changes``."""
    return {
        "specversion": "1.0",
        "id": fresh_id(rng),
        "source": "network.notifi.hostile",
        "type": BUILD,
        "data": {"parser_id": "parser"},
        **changes,
    }


def fresh_id(rng: random.Random) -> str:
    """Return an id that no other event has."""
    return f"{rng.getrandbits(80):x}"


def some_json(rng: random.Random, depth: int = 0) -> Any:
    """Return a small value of any shape."""
    if depth > 3 or rng.random() < 0.5:
        return rng.choice(VALUES)
    if rng.random() < 0.3:
        return [some_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(FIELDS): some_json(rng, depth + 1) for _ in range(rng.randrange(6))}


def encoded(rng: random.Random, value: Any) -> bytes:
    """Return JSON, with escapes or with characters as themselves."""
    return json.dumps(value, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
