"""Rejections: events refused with a 4xx, counted, told, and the last ones kept to be looked at.

Some brokers drop a refused event without a word, so this is the only trace of it. What is kept
names fields and never values: those may be secrets.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from lambda_builder.builds import rfc3339, third_party_of
from lambda_builder.errors import Refused
from lambda_builder.journal import Journal
from lambda_builder.outgoing.announcer import Announcer
from lambda_builder.pipeline.stats import Counts
from lambda_builder.tenants import ALL_TENANTS, Tenants

_TOLD = 1000
"""They are told of as long as fewer messages wait for the sink."""
_TOLD_AT_ONCE = 60
_TOLD_PER_SECOND = 1.0
"""A broker that sends them back as something else must not make them without end."""
_TEXT = 100
_TENANT = 253
_FIELDS = 20
_READABLE_BYTES = 65_536
_ATTRIBUTES = ("ce-type", "ce-source", "ce-id", "content-type", "content-length")


class Rejections:
    """Has the journal keep refused events, each with whose it claims to be; thread-safe.

    Each is told to the sink, but for those that came from there: the service's own events.
    """

    def __init__(
        self,
        counts: Counts,
        announcer: Announcer,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` is in seconds; by it goes how many are told of."""
        self._counts = counts
        self._announcer = announcer
        self._journal = journal
        self._outbox = journal.outbox
        self._lock = threading.Lock()
        self._clock = clock
        self._left, self._left_at = float(_TOLD_AT_ONCE), clock()

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
        lowered = {name.lower(): value for name, value in headers.items()}
        content = _parsed(body)
        excerpt = _excerpt(lowered, content, len(body))
        kept = {
            "time": rfc3339(time.time()),
            "code": code,
            "detail": detail[:500],
            "correlation_id": correlation_id,
            "excerpt": excerpt,
        }
        entry = {"kept": kept, "tenants": sorted(_tenants(lowered, content))}
        self._journal.keep_rejection(json.dumps(entry).encode())
        claimed = _claimed(lowered, content)
        if any(self._announcer.is_own(*each) for each in claimed) or not self._is_in_time():
            return
        # Garbage must not be able to fill the outbox, which also holds what was accepted.
        if self._has_room():
            messages = self._announcer.rejected(
                code,
                detail[:500],
                json.dumps(excerpt),
                body,
                event_type=next((kind for kind, _ in claimed if kind), ""),
                correlation_id=correlation_id,
            )
            with suppress(Refused):  # the journal is closed: nobody is told any more
                self._outbox.put(messages)

    def _is_in_time(self) -> bool:
        with self._lock:
            now = self._clock()
            earned = (now - self._left_at) * _TOLD_PER_SECOND
            self._left, self._left_at = min(_TOLD_AT_ONCE, self._left + earned), now
            if self._left < 1:
                return False
            self._left -= 1
            return True

    def _has_room(self) -> bool:
        try:
            return self._outbox.pending("sink") < _TOLD
        except Refused:
            return False

    def newest(self, tenants: Tenants = ALL_TENANTS) -> list[dict[str, Any]]:
        """Return what is kept and claims to be of these tenants alone, newest first.

        Raises ``Refused`` (``journal_unavailable``).
        """
        entries = map(json.loads, self._journal.rejections())
        return [each["kept"] for each in entries if _is_of(each["tenants"], tenants)]


def _is_of(claimed: Sequence[str], tenants: Tenants) -> bool:
    return tenants.are_all or (bool(claimed) and all(each in tenants for each in claimed))


def _claimed(headers: Mapping[str, str], content: Any) -> list[tuple[str, str]]:
    """Return the type and source of each event as far as it tells them, the headers' first."""
    events = [{"type": headers.get("ce-type"), "source": headers.get("ce-source")}]
    events += [event for event in _listed(content) if isinstance(event, dict)]
    return [(str(event.get("type") or ""), str(event.get("source") or "")) for event in events]


def _tenants(headers: Mapping[str, str], content: Any) -> frozenset[str]:
    """Return whose events they claim to be; nobody's where that cannot be read of each."""
    named = []
    for event in _listed(content):
        fields = event if isinstance(event, dict) else {}
        inner = fields.get("data")
        data = inner if isinstance(inner, dict) else fields
        source = fields.get("source") or headers.get("ce-source") or ""
        sent = data.get("third_party_id")
        # Which of the other two counts is up to the event's type.
        claimed = [sent] if sent else [data.get("namespace"), third_party_of(str(source))]
        named += [str(tenant)[:_TENANT] for tenant in claimed if tenant]
    return frozenset(named)


def _excerpt(headers: Mapping[str, str], content: Any, size: int) -> dict[str, Any]:
    envelope = content if isinstance(content, dict) else {}
    named = {name: headers[name] for name in _ATTRIBUTES if name in headers}
    for name in ("type", "source", "id"):
        value = envelope.get(name)
        if isinstance(value, str):
            named.setdefault(f"ce-{name}", value)
    if "ce-source" in named:
        named["ce-source"] = _without_credentials(named["ce-source"])
    return {
        **{name: value[:_TEXT] for name, value in named.items()},
        "bytes": size,
        "fields": [name[:_TEXT] for name in list(envelope)[:_FIELDS]],
    }


def _parsed(body: bytes) -> Any:
    if len(body) > _READABLE_BYTES:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _listed(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _without_credentials(source: str) -> str:
    try:
        parts = urlsplit(source)
    except ValueError:
        return "(unreadable)"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
