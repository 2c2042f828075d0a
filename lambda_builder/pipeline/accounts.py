"""Accounts: what is in a queue, who holds it, what became of the rest, and how fast it leaves.

Pure; ``BuildQueue`` guards it. Times are seconds on a monotonic clock that the caller reads.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from lambda_builder.pipeline.ordering import Entry

T = TypeVar("T")

RATE_WINDOW_SECONDS = 30.0
"""How far back the drain rate looks."""
MAX_RETRY_AFTER = 60


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """The queue's counts, all from one instant."""

    waiting: int
    delayed: int
    held: int
    capacity: int
    accepted: int
    full: int
    outcomes: Counter[str]
    oldest_queued_seconds: float

    @property
    def depth(self) -> int:
        """Builds that wait, the delayed ones included."""
        return self.waiting + self.delayed


class Accounts(Generic[T]):
    """The entries that are not finished, and counts; not thread-safe."""

    def __init__(self) -> None:
        self.accepted = self.full = 0
        self.outcomes: Counter[str] = Counter()
        self._orders = itertools.count()
        self._unfinished: OrderedDict[int, Entry[T]] = OrderedDict()
        """By place, as are those held: a key may come again while its last entry is put away. An
        ordered dict finds its first entry at once, however many have left before it."""
        self._held: dict[int, Entry[T]] = {}
        self._departures: deque[float] = deque(maxlen=1024)

    def enter(self, entry: Entry[T], now: float) -> None:
        """Count an entry that is accepted, and give it its place."""
        entry.queued_at = entry.ready_at = now
        entry.order = next(self._orders)
        self._unfinished[entry.order] = entry
        self.accepted += 1

    def hold(self, entry: Entry[T]) -> None:
        """Note that a waiting entry is given out."""
        self._held[entry.order] = entry

    def put_back(self, entry: Entry[T]) -> None:
        """Note that a held entry waits again."""
        del self._held[entry.order]

    def finish(self, entry: Entry[T], outcome: str, now: float) -> None:
        """Count a held entry as finished."""
        del self._held[entry.order]
        del self._unfinished[entry.order]
        self.outcomes[outcome] += 1
        self._departures.append(now)

    def leave(self, entry: Entry[T]) -> None:
        """Forget a held entry: it is counted elsewhere from now on."""
        del self._held[entry.order]
        del self._unfinished[entry.order]
        self.accepted -= 1

    def unfinished(self) -> list[Entry[T]]:
        """Return what waits or is held, in order."""
        return [*self._unfinished.values()]

    def waiting(self) -> Iterator[Entry[T]]:
        """Iterate over what waits, in order."""
        return (e for order, e in self._unfinished.items() if order not in self._held)

    def held(self) -> list[Entry[T]]:
        """Return what is held."""
        return [*self._held.values()]

    def __bool__(self) -> bool:
        """Whether anything is unfinished."""
        return bool(self._unfinished)

    def snapshot(self, *, depth: int, delayed: int, capacity: int, now: float) -> QueueSnapshot:
        """Return all counts; looks at no more entries than are held, and one."""
        oldest = next((entry.queued_at for entry in self.waiting()), now)
        return QueueSnapshot(
            waiting=depth - delayed,
            delayed=delayed,
            held=len(self._held),
            capacity=capacity,
            accepted=self.accepted,
            full=self.full,
            outcomes=Counter(self.outcomes),
            oldest_queued_seconds=max(0.0, now - oldest),
        )

    def seconds_for(self, count: int, now: float) -> int:
        """Return the whole seconds, 1 to 60, in which ``count`` entries leave at the present rate.

        60 when nothing left within the last 30 seconds.
        """
        while self._departures and self._departures[0] < now - RATE_WINDOW_SECONDS:
            self._departures.popleft()
        if not self._departures:
            return MAX_RETRY_AFTER
        rate = len(self._departures) / max(now - self._departures[0], 1.0)
        return min(MAX_RETRY_AFTER, max(1, math.ceil(count / rate)))
