"""The outbox where no journal is wanted: in memory, bounded, and gone with the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import structlog

from lambda_builder.journal.news import News
from lambda_builder.journal.values import Destination, OutboxMessage
from lambda_builder.journal.waiting_messages import WaitingMessages

OUTBOX_MAX = 10_000
OUTBOX_MAX_BYTES = 64 * 1024 * 1024
"""What waits in memory; beyond it the oldest events are dropped and counted, and dead letters only
where nothing else is left."""
_DROPPED_FIRST: tuple[Destination, ...] = ("sink", "handoff", "dead_letter")


class MemoryOutbox(News):
    """The ``Outbox`` without a journal: the same rules, but bounded and gone with the process."""

    def __init__(self, *, most: int = OUTBOX_MAX, most_bytes: int = OUTBOX_MAX_BYTES) -> None:
        super().__init__()
        self._most, self._most_bytes = most, most_bytes
        self._bytes = 0
        self.now = time.monotonic
        self._lock = threading.Lock()
        self._waiting: dict[Destination, WaitingMessages] = {
            destination: WaitingMessages() for destination in _DROPPED_FIRST
        }
        self.dropped = 0
        """Messages dropped for want of room."""

    def put(
        self, messages: Sequence[OutboxMessage], *, durable: bool = False, soon: bool = False
    ) -> None:
        """See ``Outbox.put``; ``durable`` and ``soon`` change nothing."""
        dropped = 0
        with self._lock:
            for message in messages:
                self._put(message)
            while self._pending > self._most or self._bytes > self._most_bytes:
                self._remove(self._least_wanted())
                dropped += 1
            self.dropped += dropped
        if dropped:
            structlog.get_logger().warning("outbox_messages_dropped", messages=dropped)
        if messages:
            self.nudge()

    def due(self, now: float, limit: int, destination: Destination) -> list[OutboxMessage]:
        """See ``Outbox.due``."""
        with self._lock:
            return self._waiting[destination].due(now, limit)

    def next_due(self, destination: Destination) -> float | None:
        """See ``Outbox.next_due``."""
        with self._lock:
            return self._waiting[destination].next_due()

    def delivered(self, message_id: str) -> None:
        """See ``Outbox.delivered``."""
        with self._lock:
            held = self._remove(message_id)
        if held:
            self.nudge()

    def failed(self, message_id: str, next_at: float) -> None:
        """See ``Outbox.failed``."""
        with self._lock:
            for waiting in self._waiting.values():
                waiting.put_off(message_id, next_at)

    def pending(self, destination: Destination | None = None) -> int:
        """See ``Outbox.pending``."""
        with self._lock:
            return self._pending if destination is None else len(self._waiting[destination])

    # -- with the lock held --------------------------------------------------------------------

    @property
    def _pending(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _put(self, message: OutboxMessage) -> None:
        for destination, waiting in self._waiting.items():
            known = waiting.get(message.id)
            if known is not None:
                self._bytes -= _size(known)
                if destination != message.destination:
                    waiting.remove(message.id)
        self._bytes += _size(message)
        self._waiting[message.destination].put(message)

    def _remove(self, message_id: str) -> bool:
        """Return whether a message waits that was held back by this one."""
        for waiting in self._waiting.values():
            message = waiting.get(message_id)
            if message is not None:
                self._bytes -= _size(message)
                return waiting.remove(message_id)
        return False

    def _least_wanted(self) -> str:
        firsts = (self._waiting[destination].first() for destination in _DROPPED_FIRST)
        return next(message.id for message in firsts if message is not None)


def _size(message: OutboxMessage) -> int:
    return len(message.body) + sum(len(name) + len(text) for name, text in message.headers.items())
