"""Rejections: events refused with a 4xx, counted, told, and the last ones kept to be looked at.

Some brokers drop a refused event without a word, so this is the only trace of it. What is kept
names fields and never values: those may be secrets.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from lambda_builder.builds import rfc3339
from lambda_builder.errors import Refused
from lambda_builder.journal import Outbox
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.stats import Counts

_KEPT = 1000
"""Refused events that are kept; and told of, as long as fewer messages wait for the sink."""
_TEXT = 100
_FIELDS = 20
_READABLE_BYTES = 65_536
_ATTRIBUTES = ("ce-type", "ce-source", "ce-id", "content-type", "content-length")


class Rejections:
    """Remembers refused events; thread-safe."""

    def __init__(self, counts: Counts, announcer: Announcer, outbox: Outbox) -> None:
        self._counts = counts
        self._announcer = announcer
        self._outbox = outbox
        self._lock = threading.Lock()
        self._kept: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    def count(self, code: str) -> None:
        """Count an event that was refused and will be sent again: nothing to keep."""
        self._counts.add("rejected", code)

    def add(
        self,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        correlation_id: str | None,
    ) -> None:
        """Count, keep and tell of an event that was refused for good."""
        self.count(code)
        excerpt = _excerpt(headers, body)
        kept = {
            "time": rfc3339(time.time()),
            "code": code,
            "detail": detail[:500],
            "correlation_id": correlation_id,
            "excerpt": excerpt,
        }
        with self._lock:
            self._kept.append(kept)
        # Garbage must not be able to fill the outbox, which also holds what was accepted.
        if self._has_room():
            messages = self._announcer.rejected(
                code, detail[:500], json.dumps(excerpt), body, correlation_id
            )
            if messages:
                self._outbox.put(messages)

    def _has_room(self) -> bool:
        try:
            return self._outbox.pending("sink") < _KEPT
        except Refused:
            return False

    def newest(self) -> list[dict[str, Any]]:
        """Return what is kept, newest first."""
        with self._lock:
            return [*reversed(self._kept)]


def _excerpt(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    lowered = {name.lower(): value for name, value in headers.items()}
    envelope = _object(body)
    named = {name: lowered[name] for name in _ATTRIBUTES if name in lowered}
    for name in ("type", "source", "id"):
        value = envelope.get(name)
        if isinstance(value, str):
            named.setdefault(f"ce-{name}", value)
    if "ce-source" in named:
        named["ce-source"] = _without_credentials(named["ce-source"])
    return {
        **{name: value[:_TEXT] for name, value in named.items()},
        "bytes": len(body),
        "fields": [name[:_TEXT] for name in list(envelope)[:_FIELDS]],
    }


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > _READABLE_BYTES:
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _without_credentials(source: str) -> str:
    try:
        parts = urlsplit(source)
    except ValueError:
        return "(unreadable)"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
