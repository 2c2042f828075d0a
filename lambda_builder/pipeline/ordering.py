"""Ordering: in which order waiting entries leave. No locks; ``BuildQueue`` guards it.

When fair, turns go over the tenants; within a turn, as in one line for all, priority counts as time
waited. Delayed entries stay out of sight until they are due, then stand at their old place.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

PRIORITY_SECONDS = 150.0
"""What one step of priority is worth, in time waited: of ``high``, ``normal`` and ``low`` the last
is passed by nothing that came more than five minutes after it."""


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """One thing that waits; ``key`` is unique among all that wait or are held."""

    key: str
    item: T
    priority: int = 0
    """Lower leaves first."""
    tenant: str = ""
    size: int = 0
    """Bytes that it takes while it waits."""
    order: int = -1
    """Place in the order of acceptance; kept over retries."""
    queued_at: float = 0.0
    ready_at: float = 0.0
    """When it may leave, on the queue's clock."""
    holder: threading.Thread | None = None
    number: int = -1
    """Of the place at which it waits; where it waited before, others stand."""


_Place = tuple[float, int, int, Entry[T]]
"""An entry with what it is sorted by: a time, its order, and the number of this place. What is
taken out leaves its place behind, and has another with the same time and order once put back."""


class Ordering(Generic[T]):
    """Waiting entries by key and by turn; not thread-safe."""

    def __init__(self, *, fair: bool) -> None:
        self._fair = fair
        self.size = 0
        """Bytes of what waits."""
        self._entries: dict[str, Entry[T]] = {}
        self._due: dict[str, list[_Place[T]]] = {}
        """A heap per tenant; one for all unless fair."""
        self._turns: deque[str] = deque()
        """Tenants with something due, each once."""
        self._delayed: list[_Place[T]] = []
        self._late = 0
        """Entries that are not due, as of the last look."""
        self._removed = 0
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry[T], now: float) -> None:
        """Let ``entry`` wait, out of sight while its ``ready_at`` is after ``now``.

        Raises ``ValueError`` where one of its key waits already.
        """
        if entry.key in self._entries:
            raise ValueError(f"an entry {entry.key} waits already")
        self._entries[entry.key] = entry
        self.size += entry.size
        self._place(entry, now)

    def pop(self, now: float) -> Entry[T] | None:
        """Take the entry whose turn it is, if any is due."""
        self._wake(now)
        while self._turns:
            tenant = self._turns.popleft()
            heap = self._due[tenant]
            entry = _pop_live(heap)
            if heap:
                self._turns.append(tenant)
            else:
                del self._due[tenant]
            if entry is not None:
                del self._entries[entry.key]
                self.size -= entry.size
                return entry
        return None

    def remove(self, key: str, now: float) -> Entry[T] | None:
        """Take an entry out of turn; its place is freed now and then, not at once."""
        self._wake(now)
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.number = -1
            self.size -= entry.size
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

    def turns(self) -> tuple[list[Entry[T]], list[str] | None]:
        """Return what waits, and unless it is one line for all the tenants whose turns come next.

        For ``positions``.
        """
        return list(self._entries.values()), list(self._turns) if self._fair else None

    def _place(self, entry: Entry[T], now: float) -> None:
        entry.number = next(self._numbers)
        if entry.ready_at > now:
            self._late += 1
            heapq.heappush(self._delayed, (entry.ready_at, entry.order, entry.number, entry))
            return
        tenant = entry.tenant if self._fair else ""
        if tenant not in self._due:
            self._due[tenant] = []
            self._turns.append(tenant)
        rank, order = _rank(entry)
        heapq.heappush(self._due[tenant], (rank, order, entry.number, entry))

    def _wake(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            *_, number, entry = heapq.heappop(self._delayed)
            if entry.number == number:
                self._late -= 1
                self._place(entry, now)

    def _rebuild(self, now: float) -> None:
        self._removed = self._late = 0
        self._due.clear()
        self._turns.clear()
        self._delayed.clear()
        for entry in sorted(self._entries.values(), key=lambda entry: entry.order):
            self._place(entry, now)


def positions(entries: Iterable[Entry[T]], turns: Sequence[str] | None) -> dict[str, int]:
    """Return the places in the queue, from 1, by key: how many leave until an entry has.

    If nothing else came, and what is delayed were due: that stands at its old place. With ``turns``
    one of each tenant leaves in turn; tenants of which nothing is due stand behind the others.
    """
    line = sorted(entries, key=_rank)
    if turns is None:
        return {entry.key: place for place, entry in enumerate(line, 1)}
    by_tenant: dict[str, list[Entry[T]]] = {tenant: [] for tenant in turns}
    for entry in line:
        by_tenant.setdefault(entry.tenant, []).append(entry)
    rounds = itertools.zip_longest(*by_tenant.values())
    in_turn = (entry for taken in rounds for entry in taken if entry is not None)
    return {entry.key: place for place, entry in enumerate(in_turn, 1)}


def _rank(entry: Entry[T]) -> tuple[float, int]:
    # A sum that never changes ages whoever waits, without anybody looking after it.
    return entry.queued_at + entry.priority * PRIORITY_SECONDS, entry.order


def _pop_live(heap: list[_Place[T]]) -> Entry[T] | None:
    while heap:
        *_, number, entry = heapq.heappop(heap)
        if entry.number == number:
            return entry
    return None
