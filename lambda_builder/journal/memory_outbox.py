"""The outbox where no journal is wanted: in memory, bounded, and gone with the process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Sequence

import structlog

from lambda_builder.journal.news import News
from lambda_builder.journal.values import Destination, OutboxMessage
from lambda_builder.journal.waiting_messages import WaitingMessages

OUTBOX_MAX = 10_000
OUTBOX_MAX_BYTES = 64 * 1024 * 1024
"""What waits in memory; beyond it the oldest events are dropped and counted, and dead letters only
where nothing else is left."""


class MemoryOutbox(News):
    """The ``Outbox`` without a journal: the same rules, but bounded and gone with the process."""

    def __init__(self, *, most: int = OUTBOX_MAX, most_bytes: int = OUTBOX_MAX_BYTES) -> None:
        super().__init__()
        self._most, self._most_bytes = most, most_bytes
        self._bytes = 0
        self.now = time.monotonic
        self._lock = threading.Lock()
        self._waiting: defaultdict[Destination, WaitingMessages] = defaultdict(WaitingMessages)
        self._destinations: OrderedDict[str, Destination] = OrderedDict()
        """Of each message, by id, the oldest first."""
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
            while len(self._destinations) > self._most or self._bytes > self._most_bytes:
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
            destination = self._destinations.get(message_id)
            if destination is not None:
                self._waiting[destination].put_off(message_id, next_at)

    def pending(self, destination: Destination | None = None) -> int:
        """See ``Outbox.pending``."""
        with self._lock:
            if destination is None:
                return len(self._destinations)
            return len(self._waiting[destination])

    # -- with the lock held --------------------------------------------------------------------

    def _put(self, message: OutboxMessage) -> None:
        before = self._destinations.get(message.id)
        known = None if before is None else self._waiting[before].get(message.id)
        if known is not None:
            self._bytes -= _size(known)
            if known.destination != message.destination:
                self._waiting[known.destination].remove(message.id)
        self._bytes += _size(message)
        self._destinations[message.id] = message.destination
        self._waiting[message.destination].put(message)

    def _remove(self, message_id: str) -> bool:
        """Return whether a message waits that was held back by this one."""
        destination = self._destinations.pop(message_id, None)
        if destination is None:
            return False
        waiting = self._waiting[destination]
        message = waiting.get(message_id)
        self._bytes -= 0 if message is None else _size(message)
        return waiting.remove(message_id)

    def _least_wanted(self) -> str:
        event = self._waiting["sink"].first()
        return next(iter(self._destinations)) if event is None else event.id


def _size(message: OutboxMessage) -> int:
    return len(message.body) + sum(len(name) + len(text) for name, text in message.headers.items())
