"""The journal's plain values, and the interface of its outbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from lambda_builder.builds import BuildRequest

Destination = Literal["sink", "dead_letter", "handoff"]

AUDIT_KEPT: Mapping[bool, int] = {False: 10_000, True: 1_000}
"""How many entries of the audit are kept: of what was done, and of what was refused, each for
itself, so that nobody can push out what others did by what he may not do."""


REJECTIONS_KEPT = 1_000
"""How many refused events are kept."""


@dataclass(frozen=True, slots=True)
class OpenBuild:
    """A recorded build that has no outcome yet."""

    seq: int
    """Place in the order of acceptance."""
    request: BuildRequest
    attempts: int


@dataclass(frozen=True, slots=True)
class OpenReport:
    """What was found when the journal was opened."""

    open_rows: int = 0
    last_seq: int = 0
    """Highest ``seq`` that an earlier process left behind; later ones are this process's own."""


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One outgoing message; ``id`` is unique over all destinations.

    Putting an id that is still pending replaces its content and keeps its place.
    """

    destination: Destination
    key: str
    """Messages of one destination and key leave one after the other, in their order."""
    headers: Mapping[str, str] = field(hash=False)
    body: bytes
    id: str
    attempts: int = 0
    """Deliveries that failed so far; set by the outbox."""


class Outbox(Protocol):
    """Messages that wait to be delivered, at least once each; thread-safe.

    One consumer per destination: ``due`` shows a message again until it is delivered or failed.
    """

    def now(self) -> float:
        """Return the outbox's time in seconds, for the methods below; it never goes back."""

    def put(
        self, messages: Sequence[OutboxMessage], *, durable: bool = False, soon: bool = False
    ) -> None:
        """Add messages, without waiting unless ``durable``.

        ``soon``: nothing else knows that they are to be told, so they are written at once.
        Raises ``Refused`` (``JOURNAL_UNAVAILABLE``) when ``durable``, or after the journal's end.
        """

    def due(self, now: float, limit: int, destination: Destination) -> list[OutboxMessage]:
        """Return messages to deliver at ``now``, the longest due first.

        Raises ``Refused`` (``JOURNAL_UNAVAILABLE``).
        """

    def next_due(self, destination: Destination) -> float | None:
        """Return when the next message is due; None when there is none.

        Raises ``Refused`` (``JOURNAL_UNAVAILABLE``).
        """

    def delivered(self, message_id: str) -> None:
        """Forget a message; later ones of its key are due. Does not wait."""

    def failed(self, message_id: str, next_at: float) -> None:
        """Show the message, and those behind it, no sooner than ``next_at``. Does not wait."""

    def pending(self, destination: Destination | None = None) -> int:
        """Return how many messages are undelivered; 0 only if there are none.

        Raises ``Refused`` (``JOURNAL_UNAVAILABLE``).
        """

    def wait_for_news(self, seen: int, timeout: float) -> int:
        """Wait until messages were added since ``seen``, the value of the last call (0 at first).

        Returns the value for the next call; ``timeout`` is in seconds.
        """

    def nudge(self) -> None:
        """Make every ``wait_for_news`` return."""
