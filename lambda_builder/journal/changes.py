"""Changes to the journal as values, and where their callers wait for them."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from lambda_builder.errors import RefusalCode, Refused
from lambda_builder.journal.rows import Row

DISK_FULL = "disk full"
"""The failure that leaves room for small changes."""
_RETRY_AFTER = 5
_DESTINATION, _KEY = 1, 2
"""Where these stand in a message's row."""


class Ticket:
    """Where one caller waits until its change is over, or until it is called to write itself.

    A bare lock, which takes a tenth of the time of an ``Event`` or a ``Future``.
    """

    __slots__ = ("_error", "_waiting", "called", "over")

    def __init__(self) -> None:
        self._waiting = threading.Lock()
        self._waiting.acquire()
        self._error: Exception | None = None
        self.called = False
        """The caller has the turn to write."""
        self.over = False
        """The change is written or refused."""

    def wait(self, timeout: float | None) -> bool:
        """Wait up to ``timeout`` seconds until it is over or called; False when time was up.

        For one caller; once it is over, not again.
        """
        return self._waiting.acquire(timeout=-1 if timeout is None else max(0.0, timeout))

    def call(self) -> None:
        """Have the caller, who waits, write."""
        self.called = True
        self._waiting.release()

    def end(self, error: Exception | None = None) -> None:
        """Let the caller go on, unless it was let go before."""
        if not self.over:
            self._error = error
            self.over = True
            self._waiting.release()

    def check(self) -> None:
        """Raise what the change failed with."""
        if self._error is not None:
            raise self._error


class Notice:
    """In place of a ticket where nobody waits: ``then`` is called, once, when a change is over.

    It is told what the change failed with, or None; by a thread that has the turn to write.
    """

    __slots__ = ("_then", "over")

    def __init__(self, then: Callable[[Exception | None], object]) -> None:
        self._then = then
        self.over = False
        """The change is written or refused."""

    def end(self, error: Exception | None = None) -> None:
        """Tell that it is over, unless that was told."""
        if not self.over:
            self.over = True
            try:
                self._then(error)
            except Exception:  # noqa: BLE001 - logged; other changes of the batch are written, too
                structlog.get_logger().exception("journal_writer_panic")


@dataclass(slots=True, eq=False)
class Change:
    """What is written in one transaction: rows, each of which begins with what it changes.

    That is the hash of an event, the id of a message, or a kind of the audit's entries.
    """

    finishes: Sequence[Row] = ()
    turned_away: Sequence[Row] = ()
    """Outcomes of events that came in and are not built."""
    forgets: Sequence[Row] = ()
    commands_over: Sequence[Row] = ()
    delivered: Sequence[Row] = ()
    messages: Sequence[Row] = ()
    failed: Sequence[Row] = ()
    """(message id, next time)."""
    attempts: Sequence[Row] = ()
    """(event hash, attempts)."""
    taken_back: Sequence[Row] = ()
    """(event hash, attempts, whether it may have a Job): attempts that ended without outcome."""
    records: Sequence[Row] = ()
    reopens: Sequence[Row] = ()
    commands: Sequence[Row] = ()
    """(event hash, request)."""
    audit: Sequence[Row] = ()
    """(whether it was refused, entry)."""
    rejections: Sequence[Row] = ()
    """(entry,)."""
    grip: int = 0
    """Marks what it takes in, in a shared journal."""
    perhaps: bool = False
    """Some of it may be in a shared journal, even where it is refused."""
    told: dict[str, Any] = field(default_factory=dict)
    """What a shared journal said of its rows, by event hash."""
    durable: bool = False
    """On the disk, not only in the system's cache, before the caller goes on."""
    ticket: Ticket | Notice | None = None
    """Where a caller waits until it is committed, or refused; or is told of that."""
    soon: bool = False
    """Does not wait for others to be written together with, though no caller waits."""
    patient: bool = False
    """Outlasts a full disk: kept in memory and written later, ticket or not."""

    @property
    def _parts(self) -> list[Sequence[Row]]:
        parts = (
            *(self.finishes, self.turned_away, self.forgets, self.commands_over),
            *(self.delivered, self.messages, self.failed),
            *(self.attempts, self.taken_back, self.records, self.reopens, self.commands),
            *(self.audit, self.rejections),
        )
        return [part for part in parts if part]

    @property
    def rows(self) -> int:
        """How many rows it touches."""
        return sum(map(len, self._parts))

    @property
    def bytes(self) -> int:
        """About how much it writes, beside what each row takes."""
        return sum(_size(row) for part in self._parts for row in part)

    @property
    def sink_bytes(self) -> int:
        """What it adds to the part of the outbox that is bounded."""
        return sum(_size(row) for row in self.messages if row[_DESTINATION] == "sink")

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
        """What must be changed in the order in which it was asked for, by its identity.

        Messages have that of their key besides: those of one build leave in their order, and after
        its outcome. A delivery has not, so that it may free room before them.
        """
        keys = {row[_KEY] for row in self.messages}
        return keys | {row[0] for part in self._parts for row in part}

    def succeed(self) -> None:
        """Let whoever waits go on."""
        if self.ticket is not None:
            self.ticket.end()

    def fail(self, error: Exception) -> None:
        """Let whoever waits go on with ``error``, unless it went on before."""
        if self.ticket is not None:
            self.ticket.end(error)

    @property
    def refusable(self) -> bool:
        """Whether a failed write is told to a caller, who then tries again."""
        return self.ticket is not None and not self.patient


def undelivered(changes: Sequence[Change]) -> list[Row]:
    """Return the messages that nobody took back after they were put."""
    messages: dict[str, Row] = {}
    for change in changes:
        for (message_id,) in change.delivered:
            messages.pop(message_id, None)
        for row in change.messages:
            messages[row[0]] = row
    return list(messages.values())


class Verdict(enum.Enum):
    """How a commit went."""

    WRITTEN = enum.auto()
    UNAVAILABLE = enum.auto()
    """The disk or the database is to blame: nothing can be written now."""
    REJECTED = enum.auto()
    """One of the changes is to blame."""


def unavailable(reason: str) -> Refused:
    """Return the refusal of a journal that cannot be used; ``reason`` is the cause."""
    return Refused(RefusalCode.JOURNAL_UNAVAILABLE, reason, retry_after=_RETRY_AFTER)


def _size(row: Row) -> int:
    return sum(len(value) for value in row if isinstance(value, bytes))
