"""Ordering: in which order waiting entries leave. No locks; ``BuildQueue`` guards it.

Strict priorities; within one, the order of acceptance, or turns over tenants when fair. Delayed
entries stay out of sight until they are due, then stand at their old place.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """One thing that waits; ``key`` is unique among all that wait or are held."""

    key: str
    item: T
    priority: int = 0
    """Lower leaves first."""
    tenant: str = ""
    order: int = -1
    """Place in the order of acceptance; kept over retries."""
    queued_at: float = 0.0
    ready_at: float = 0.0
    """When it may leave, on the queue's clock."""
    holder: threading.Thread | None = None
    removed: bool = False

    def __lt__(self, other: Entry[T]) -> bool:
        return self.order < other.order


@dataclass(slots=True)
class _Lane(Generic[T]):
    """What is due at one priority: a heap per tenant, and whose turn is next."""

    heaps: dict[str, list[Entry[T]]] = field(default_factory=dict)
    turns: deque[str] = field(default_factory=deque)

    def push(self, tenant: str, entry: Entry[T]) -> None:
        if tenant not in self.heaps:
            self.heaps[tenant] = []
            self.turns.append(tenant)
        heapq.heappush(self.heaps[tenant], entry)

    def pop(self) -> Entry[T] | None:
        while self.turns:
            tenant = self.turns.popleft()
            heap = self.heaps[tenant]
            entry = _pop_live(heap)
            if heap:
                self.turns.append(tenant)
            else:
                del self.heaps[tenant]
            if entry is not None:
                return entry
        return None


def _pop_live(heap: list[Entry[T]]) -> Entry[T] | None:
    while heap:
        entry = heapq.heappop(heap)
        if not entry.removed:
            return entry
    return None


class Ordering(Generic[T]):
    """Waiting entries by key and by turn; not thread-safe."""

    def __init__(self, *, fair: bool) -> None:
        self._fair = fair
        self._entries: dict[str, Entry[T]] = {}
        self._lanes: dict[int, _Lane[T]] = {}
        self._delayed: list[tuple[float, int, Entry[T]]] = []
        self._late = 0
        """Entries that are not due, as of the last look."""
        self._removed = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry[T], now: float) -> None:
        """Let ``entry`` wait, out of sight while its ``ready_at`` is after ``now``.

        Raises ``ValueError`` where one of its key waits already.
        """
        if entry.key in self._entries:
            raise ValueError(f"an entry {entry.key} waits already")
        self._entries[entry.key] = entry
        self._place(entry, now)

    def pop(self, now: float) -> Entry[T] | None:
        """Take the entry whose turn it is, if any is due."""
        self._wake(now)
        for priority in sorted(self._lanes):
            entry = self._lanes[priority].pop()
            if entry is not None:
                del self._entries[entry.key]
                return entry
        return None

    def remove(self, key: str, now: float) -> Entry[T] | None:
        """Take an entry out of turn; its place is freed now and then, not at once."""
        self._wake(now)
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.removed = True
            self._late -= entry.ready_at > now
            self._removed += 1
            if self._removed > len(self._entries) + 64:
                self._rebuild(now)
        return entry

    def next_due(self) -> float | None:
        """Return when the next delayed entry is due."""
        return self._delayed[0][0] if self._delayed else None

    def delayed(self, now: float) -> int:
        """Count the entries that are not due at ``now``."""
        self._wake(now)
        return self._late

    def _place(self, entry: Entry[T], now: float) -> None:
        if entry.ready_at > now:
            self._late += 1
            heapq.heappush(self._delayed, (entry.ready_at, entry.order, entry))
        else:
            lane = self._lanes.setdefault(entry.priority, _Lane())
            lane.push(entry.tenant if self._fair else "", entry)

    def _wake(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            entry = heapq.heappop(self._delayed)[2]
            if not entry.removed:
                self._late -= 1
                self._place(entry, now)

    def _rebuild(self, now: float) -> None:
        self._removed = self._late = 0
        self._lanes.clear()
        self._delayed.clear()
        for entry in sorted(self._entries.values()):
            self._place(entry, now)
