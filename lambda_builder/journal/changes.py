"""Changes to the journal as values, and where their callers wait for them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal.rows import Row

_RETRY_AFTER = 5
_REQUEST = 3
"""Where the request stands in a build's row."""
_DESTINATION, _HEADERS, _BODY = 1, 3, 4
"""Where these stand in a message's row."""


class Ticket:
    """Where one caller waits until its change is committed, or refused."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._error: Exception | None = None

    def wait(self, timeout: float | None) -> bool:
        """Wait up to ``timeout`` seconds; True once committed, False when time was up.

        Raises what the change failed with.
        """
        if not self._over.wait(timeout):
            return False
        if self._error is not None:
            raise self._error
        return True

    def succeed(self) -> None:
        """Let the caller go on."""
        self._over.set()

    def fail(self, error: Exception) -> None:
        """Let the caller go on with ``error``."""
        self._error = error
        self._over.set()


@dataclass(slots=True, eq=False)
class Change:
    """What is written in one transaction; changes written together keep this order of fields."""

    finishes: Sequence[Row] = ()
    forgets: Sequence[str] = ()
    delivered: Sequence[str] = ()
    messages: Sequence[Row] = ()
    failed: Sequence[tuple[str, float]] = ()
    """(message id, next time)."""
    attempts: Sequence[tuple[str, int]] = ()
    """(event hash, attempts)."""
    records: Sequence[Row] = ()
    reopens: Sequence[Row] = ()
    turned_away: Sequence[Row] = ()
    """Outcomes of events that came in and are not built."""
    commands: Sequence[Row] = ()
    """(event hash, request)."""
    commands_over: Sequence[str] = ()
    durable: bool = False
    """On the disk, not only in the system's cache, before the caller goes on."""
    ticket: Ticket | None = None
    patient: bool = False
    """Outlasts a full disk: kept in memory and written later, ticket or not."""

    @property
    def rows(self) -> int:
        """How many rows it touches."""
        return (
            len(self.finishes)
            + len(self.forgets)
            + len(self.delivered)
            + len(self.failed)
            + len(self.messages)
            + len(self.attempts)
            + len(self.records)
            + len(self.reopens)
            + len(self.turned_away)
            + len(self.commands)
            + len(self.commands_over)
        )

    @property
    def bytes(self) -> int:
        """About how much it writes, beside what each row takes."""
        builds = (*self.records, *self.reopens, *self.turned_away, *self.finishes)
        commands = sum(len(request) for _, request in self.commands)
        messages = sum(len(row[_BODY]) for row in self.messages)
        return sum(len(row[_REQUEST]) for row in builds) + messages + commands

    @property
    def sink_bytes(self) -> int:
        """What it adds to the part of the outbox that is bounded."""
        return sum(
            len(row[_HEADERS]) + len(row[_BODY])
            for row in self.messages
            if row[_DESTINATION] == "sink"
        )

    @property
    def intake(self) -> bool:
        """Whether it takes something in: that is refused while there is room for other changes."""
        return bool(self.records or self.reopens or self.turned_away or self.commands)

    @property
    def dead_letters(self) -> bool:
        """Whether it holds messages that are never dropped, so that they may have to wait."""
        return any(row[_DESTINATION] != "sink" for row in self.messages)

    @property
    def touches(self) -> set[str]:
        """What must be changed in the order in which it was asked for, by its identity."""
        rows = (*self.finishes, *self.attempts, *self.records, *self.reopens, *self.messages)
        rows += (*self.turned_away,)
        ids = (*self.forgets, *self.delivered, *(failed[0] for failed in self.failed))
        ids += (*self.commands_over, *(row[0] for row in self.commands))
        return {*ids, *(row[0] for row in rows)}

    def succeed(self) -> None:
        """Let whoever waits go on."""
        if self.ticket is not None:
            self.ticket.succeed()

    def fail(self, error: Exception) -> None:
        """Let whoever waits go on with ``error``."""
        if self.ticket is not None:
            self.ticket.fail(error)

    @property
    def refusable(self) -> bool:
        """Whether a failed write is told to a caller, who then tries again."""
        return self.ticket is not None and not self.patient


def unavailable(reason: str) -> Refused:
    """Return the refusal of a journal that cannot be used; ``reason`` is the cause."""
    return Refused(RefusalCode.JOURNAL_UNAVAILABLE, reason, retry_after=_RETRY_AFTER)
