"""WaitingMessages: one destination's messages in memory. Not thread-safe.

What is due is found without a look at what is not: with thousands that wait, each look at all of
them took longer than the deliveries that it was for.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, deque
from dataclasses import dataclass, replace

from lambda_builder.journal.values import OutboxMessage

_SPARE_ENTRIES = 64


@dataclass(slots=True, eq=False)
class _Waiting:
    message: OutboxMessage
    number: int
    """Its place in the order in which messages came."""
    due_at: float = 0.0
    entry: int = 0
    """The number of the entry that counts for it; 0 while another one of its key is before it."""


_Entry = tuple[float, int, int, str]
"""When it is due, the message's number, the entry's own, and the message's id: an entry that counts
no more must not keep a body."""


class WaitingMessages:
    """Messages by id; those of one key are due one after the other, in the order they came."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, _Waiting] = OrderedDict()
        self._by_key: dict[str, deque[_Waiting]] = {}
        self._entries: list[_Entry] = []
        """A heap of the first ones of each key, and of entries that count no more."""
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, message_id: str) -> OutboxMessage | None:
        """Return the message of that id."""
        waiting = self._by_id.get(message_id)
        return None if waiting is None else waiting.message

    def first(self) -> OutboxMessage | None:
        """Return the message that came first."""
        return next((waiting.message for waiting in self._by_id.values()), None)

    def put(self, message: OutboxMessage) -> None:
        """Add a message, or let it take the place of the one that has its id and key."""
        known = self._by_id.get(message.id)
        if known is not None and known.message.key == message.key:
            known.message = replace(message, attempts=known.message.attempts)
            return
        if known is not None:
            self.remove(message.id)
        waiting = _Waiting(message, next(self._numbers))
        self._by_id[message.id] = waiting
        line = self._by_key.setdefault(message.key, deque())
        line.append(waiting)
        if len(line) == 1:
            self._enter(waiting)

    def remove(self, message_id: str) -> bool:
        """Take a message out; returns whether another one waits that it held back."""
        waiting = self._by_id.pop(message_id, None)
        if waiting is None:
            return False
        line = self._by_key[waiting.message.key]
        line.remove(waiting)
        if not line:
            del self._by_key[waiting.message.key]
            return False
        if not line[0].entry:
            self._enter(line[0])
        return True

    def put_off(self, message_id: str, next_at: float) -> None:
        """Note that a message was tried, and when it may be again."""
        waiting = self._by_id.get(message_id)
        if waiting is None:
            return
        waiting.message = replace(waiting.message, attempts=waiting.message.attempts + 1)
        waiting.due_at = next_at
        if waiting.entry:
            self._enter(waiting)

    def due(self, now: float, limit: int) -> list[OutboxMessage]:
        """Return the first messages of each key that are due, the longest due first."""
        found: list[_Entry] = []
        while len(found) < limit and self._next_is_due(now):
            found.append(heapq.heappop(self._entries))
        for entry in found:
            heapq.heappush(self._entries, entry)
        return [self._by_id[message_id].message for *_, message_id in found]

    def next_due(self) -> float | None:
        """Return when the next message is due."""
        self._drop_old_entries()
        return self._entries[0][0] if self._entries else None

    def _next_is_due(self, now: float) -> bool:
        due_at = self.next_due()
        return due_at is not None and due_at <= now

    def _drop_old_entries(self) -> None:
        while self._entries and not self._counts(self._entries[0]):
            heapq.heappop(self._entries)

    def _enter(self, waiting: _Waiting) -> None:
        """Have a message found by when it is due; an earlier entry of it counts no more."""
        waiting.entry = next(self._numbers)
        entry = waiting.due_at, waiting.number, waiting.entry, waiting.message.id
        heapq.heappush(self._entries, entry)
        if len(self._entries) > 2 * len(self._by_key) + _SPARE_ENTRIES:
            self._entries = [entry for entry in self._entries if self._counts(entry)]
            heapq.heapify(self._entries)

    def _counts(self, entry: _Entry) -> bool:
        _, _, number, message_id = entry
        waiting = self._by_id.get(message_id)
        return waiting is not None and waiting.entry == number
