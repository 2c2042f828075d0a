"""Announcer: which outgoing messages follow from what became of a build. Sends nothing itself."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

from lambda_builder.builds import BuildRequest, BuildResult, BuildState
from lambda_builder.journal import Destination, OutboxMessage
from lambda_builder.outgoing.messages import (
    BuildNews,
    HTTPMessage,
    build_event,
    dead_letter,
    handoff,
    is_news,
    rejected_event,
)


class Announcer:
    """Makes messages for the outbox; immutable, so it may be shared by threads.

    A destination without a URL gets no messages, so nothing piles up for it.
    """

    def __init__(
        self, *, source: str, overrides: Mapping[str, str], sink: bool, dead_letters: bool
    ) -> None:
        """``source`` is the CloudEvents source of what we send; the flags say who listens."""
        self._source = source
        self._overrides = dict(overrides)
        self._sink = sink
        self._dead_letters = dead_letters

    def accepted(self, result: BuildResult) -> list[OutboxMessage]:
        """Return what tells that an event was accepted."""
        return self.news("accepted", result)

    def ended(self, result: BuildResult) -> list[OutboxMessage]:
        """Return what tells of the end of a build that has no Job, or lost it to a cancel."""
        if result.state is BuildState.CANCELLED:
            return self.news("cancelled", result)
        if result.state is not BuildState.DEAD:
            return []
        return [*self.news("failed", result), *self.dead_letter(result)]

    def dead_letter(self, result: BuildResult) -> list[OutboxMessage]:
        """Return the original event for the dead letters, with what went wrong."""
        if not self._dead_letters:
            return []
        code = result.error.code if result.error else "unknown"
        message = dead_letter(result.request, error=code, attempts=result.attempts)
        event_hash = result.request.event_hash
        return [_outgoing("dead_letter", event_hash, event_hash, message)]

    def is_own(self, event_type: str, source: str) -> bool:
        """Return whether an event with these attributes was sent by this service, or its like."""
        return source == self._source or is_news(event_type)

    def rejected(
        self,
        code: str,
        detail: str,
        excerpt: str,
        body: bytes,
        *,
        event_type: str,
        correlation_id: str | None,
    ) -> list[OutboxMessage]:
        """Return what tells that an event of that type was refused with a 4xx."""
        if not self._sink:
            return []
        message = rejected_event(
            code,
            detail,
            excerpt,
            body=b"%b\n%b" % (excerpt.encode(), body),  # equal bodies of two events are two
            event_type=event_type,
            correlation_id=correlation_id,
            source=self._source,
            time=time.time(),
            overrides=self._overrides,
        )
        key = f"{code}-{hashlib.sha256(excerpt.encode() + body).hexdigest()}"
        return [_outgoing("sink", key, key, message)]

    def handoff(self, request: BuildRequest) -> HTTPMessage:
        """Return the original event for another replica."""
        return handoff(request)

    def news(
        self,
        kind: BuildNews,
        result: BuildResult,
        *,
        at: float | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> list[OutboxMessage]:
        """Return what tells one piece of news of a build; ``at`` is when it came about.

        ``provenance`` is told of one that is complete.
        """
        if not self._sink:
            return []
        moment = time.time() if at is None else at
        message = build_event(
            kind,
            result,
            source=self._source,
            time=moment,
            overrides=self._overrides,
            provenance=provenance,
        )
        event_hash = result.request.event_hash
        return [_outgoing("sink", event_hash, f"{event_hash}-{kind}", message)]


def _outgoing(
    destination: Destination, key: str, identity: str, message: HTTPMessage
) -> OutboxMessage:
    return OutboxMessage(
        destination=destination,
        key=key,
        headers=dict(message.headers),
        body=message.body,
        id=f"{destination}-{identity}",
    )
