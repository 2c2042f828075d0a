"""The outbox of a journal: messages written in the same transaction as what they tell of."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog

from lambda_builder.errors import Refused
from lambda_builder.journal.changes import Change
from lambda_builder.journal.news import News
from lambda_builder.journal.rows import Unreadable, message_of, message_row, plain
from lambda_builder.journal.values import Destination, OutboxMessage

Submit = Callable[[Change], None]

_SETTLING_SECONDS = 0.2
_DESTINATION = 1
"""Where the destination stands in a message's row."""


class Messages(Protocol):
    """What is in the database; thread-safe. Each raises ``Refused`` (``JOURNAL_UNAVAILABLE``)."""

    def due(self, now: float, limit: int, destination: Destination) -> list[str]:
        """Return ids of the first messages of each key that are due, the longest due first."""

    def read(self, ids: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return their ``MESSAGE_COLUMNS``, the longest due first."""

    def first_due(self, destination: Destination) -> float | None:
        """Return when the next message is due."""

    def count(self, destination: Destination | None) -> int:
        """Return how many there are."""


class JournalOutbox(News):
    """The ``Outbox`` of a journal.

    What was delivered or failed counts at once, also while the disk takes no changes; a process
    that dies before it is written delivers again.
    """

    def __init__(
        self, messages: Messages, queue: Submit, write: Submit, *, clock: Callable[[], float]
    ) -> None:
        """``clock`` is the outbox's own: it never goes back."""
        super().__init__()
        self.now = clock
        self._messages = messages
        self._queue = queue
        self._write = write
        self._lock = threading.Lock()
        self._unwritten: Counter[str] = Counter()
        self._gone: dict[str, int] = {}
        """Messages delivered or failed, by how many changes say so that are not written yet."""

    def put(
        self, messages: Sequence[OutboxMessage], *, durable: bool = False, soon: bool = False
    ) -> None:
        """See ``Outbox.put``."""
        change = Change(messages=self.rows_of(messages), durable=durable, soon=soon)
        if durable:
            self._write(change)
        else:
            self._queue(change)

    def rows_of(self, messages: Sequence[OutboxMessage]) -> list[tuple[Any, ...]]:
        """Return the rows of messages that are about to be submitted as part of a change."""
        with self._lock:
            self._unwritten.update(message.destination for message in messages)
        return [message_row(message) for message in messages]

    def due(self, now: float, limit: int, destination: Destination) -> list[OutboxMessage]:
        """See ``Outbox.due``."""
        with self._lock:
            gone = set(self._gone)  # before the query: what is written meanwhile is not in it
        due = self._messages.due(now, limit + len(gone), destination)
        ids = [message_id for message_id in due if message_id not in gone][:limit]
        # Only now with their bodies: while the disk takes no changes, most are gone already.
        rows = self._messages.read(ids) if ids else []
        messages = []
        for row in rows:
            try:
                message = message_of(row)
            except Unreadable as error:
                structlog.get_logger().error("outbox_message_unreadable", error=str(error))
                self.delivered(row[4])
            else:
                messages.append(message)
        return messages

    def next_due(self, destination: Destination) -> float | None:
        """See ``Outbox.next_due``."""
        due_at = self._messages.first_due(destination)
        if due_at is None:
            return None
        with self._lock:
            settling = bool(self._gone)
        # What was settled, but not written, still looks due: its consumer must not spin on it.
        return max(due_at, self.now() + _SETTLING_SECONDS) if settling else due_at

    def delivered(self, message_id: str) -> None:
        """See ``Outbox.delivered``."""
        self._settle(plain(message_id), Change(delivered=((plain(message_id),),)))

    def failed(self, message_id: str, next_at: float) -> None:
        """See ``Outbox.failed``."""
        self._settle(plain(message_id), Change(failed=((plain(message_id), next_at),)))

    def pending(self, destination: Destination | None = None) -> int:
        """See ``Outbox.pending``."""
        with self._lock:  # before the query: counted twice is better than not at all
            unwritten = self._unwritten.total()
            if destination is not None:
                unwritten = self._unwritten[destination]
        return self._messages.count(destination) + unwritten

    def over(self, changes: Sequence[Change]) -> None:
        """Note that ``changes`` are written, refused or lost; called by one thread at a time."""
        arrived = False
        for change in changes:
            if change.messages or change.delivered or change.failed:
                arrived = True
                self._note(change)
        if arrived:
            self.nudge()

    def _note(self, change: Change) -> None:
        with self._lock:
            self._unwritten.subtract(row[_DESTINATION] for row in change.messages)
            for message_id, *_ in (*change.delivered, *change.failed):
                self._gone[message_id] -= 1
                if not self._gone[message_id]:
                    del self._gone[message_id]

    def _settle(self, message_id: str, change: Change) -> None:
        with self._lock:
            self._gone[message_id] = self._gone.get(message_id, 0) + 1
        # After close it cannot be noted: the next start delivers once more.
        with contextlib.suppress(Refused):
            self._queue(change)
