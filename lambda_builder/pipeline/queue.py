"""BuildQueue: a bounded ``queue.Queue`` with reservations, priorities, fair turns and delays.

Knows nothing of builds, Kubernetes or HTTP. What waits and what is delayed both fill it; a getter
sees only what is due. All counting happens under the queue's one mutex, so a snapshot adds up:
accepted = waiting + delayed + held by workers + finished.
"""

from __future__ import annotations

import itertools
import math
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from lambda_builder.pipeline.ordering import Entry, Schedule

T = TypeVar("T")

RATE_WINDOW_SECONDS = 30.0
"""How far back the drain rate looks."""
MAX_RETRY_AFTER = 60


class QueueClosed(Exception):
    """The queue takes (or, once halted or drained, gives) nothing more."""


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


class BuildQueue(queue.Queue[Entry[T]]):
    """Bounded queue of entries; every method is thread-safe.

    ``maxsize`` bounds what waits, is delayed or reserved. What a worker gives back is always
    taken, so the depth can pass ``maxsize`` by the number of workers, never by new entries. Each
    added entry wakes one getter, and waiters are woken in the order they came, so no getter
    without a timer sleeps while a delayed entry falls due.
    """

    def __init__(
        self, maxsize: int, *, fair: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(maxsize)
        self._clock = clock
        self._waiting: Schedule[T] = Schedule(fair=fair)
        self._held: dict[int, Entry[T]] = {}
        """By identity: a key may come again while its last entry is being put away."""
        self._orders = itertools.count()
        self._reserved = 0
        self._backlog = 0
        self._closed = self._halted = False
        self._accepted = self._full = 0
        self._outcomes: Counter[str] = Counter()
        self._departures: deque[float] = deque(maxlen=1024)

    # -- room ----------------------------------------------------------------------------------

    def reserve(self, count: int = 1) -> None:
        """Take ``count`` slots for ``put_reserved``; raises ``queue.Full`` or ``QueueClosed``."""
        with self.mutex:
            if self._closed:
                raise QueueClosed
            if self._occupied() + count > self.maxsize:
                self._full += 1
                raise queue.Full
            self._reserved += count

    def release(self, count: int = 1) -> None:
        """Give reserved slots back unused."""
        with self.mutex:
            self._reserved -= count
            self.not_full.notify_all()
            self._tell_if_finished()

    def put_reserved(self, entries: Iterable[Entry[T]]) -> None:
        """Put entries into slots reserved before; works on a closed queue too, and never waits."""
        with self.mutex:
            for entry in entries:
                self._reserved -= 1
                self._add(entry)

    def expect(self, count: int) -> None:
        """Announce ``count`` older entries: they hold their room against ``reserve``."""
        with self.mutex:
            self._backlog += count
            self.not_full.notify_all()

    def put_expected(self, entry: Entry[T], timeout: float | None = None) -> None:
        """Put an announced entry once fewer than ``maxsize`` wait.

        Raises ``queue.Full`` after ``timeout`` seconds and ``QueueClosed`` once closed.
        """
        with self.not_full:
            if not self.not_full.wait_for(
                lambda: self._closed or len(self._waiting) < self.maxsize, timeout
            ):
                raise queue.Full
            if self._closed:
                raise QueueClosed
            self._backlog -= 1
            self._add(entry)

    def unexpect(self, count: int = 1) -> None:
        """Withdraw announced entries that will not come."""
        self.expect(-count)

    def put(self, item: Entry[T], block: bool = True, timeout: float | None = None) -> None:
        """Put one entry, waiting for room if ``block``; raises as ``queue.Queue.put`` does."""
        with self.not_full:
            if not block:
                timeout = 0
            free = self.not_full.wait_for(
                lambda: self._closed or self._occupied() < self.maxsize, timeout
            )
            if self._closed:
                raise QueueClosed
            if not free:
                self._full += 1
                raise queue.Full
            self._add(item)

    def _add(self, entry: Entry[T]) -> None:
        entry.queued_at = entry.ready_at = self._clock()
        entry.order = next(self._orders)
        self._accepted += 1
        self.unfinished_tasks += 1
        self._wait(entry)

    # -- in and out ----------------------------------------------------------------------------

    def get(self, block: bool = True, timeout: float | None = None) -> Entry[T]:
        """Return the next due entry, now held by the calling thread until it is done or given back.

        Raises ``queue.Empty`` after ``timeout`` seconds, and ``QueueClosed`` once the queue is
        halted, or closed with nothing left to wait for.
        """
        deadline = None if timeout is None else self._clock() + timeout
        with self.not_empty:
            while True:
                if self._halted:
                    raise QueueClosed
                entry = self._take_due()
                if entry is not None:
                    return entry
                if self._closed and self._is_finished():
                    raise QueueClosed
                wait = self._seconds_until(deadline)
                if not block or (wait is not None and wait <= 0 and self._past(deadline)):
                    raise queue.Empty
                self.not_empty.wait(wait)

    def _take_due(self) -> Entry[T] | None:
        entry = self._waiting.pop(self._clock())
        if entry is not None:
            self._hold(entry)
        return entry

    def _hold(self, entry: Entry[T]) -> None:
        self._held[id(entry)] = entry
        entry.holder = threading.current_thread()
        self.not_full.notify_all()

    def give_back(self, entry: Entry[T], delay: float = 0.0) -> None:
        """Let a held entry wait again, for ``delay`` seconds at least, at its old place."""
        with self.mutex:
            if entry.removed:
                raise ValueError("a removed entry can only be finished")
            del self._held[id(entry)]
            entry.holder = None
            entry.ready_at = self._clock() + delay
            self._wait(entry)

    def remove(self, key: str) -> Entry[T] | None:
        """Take a waiting or delayed entry out by its key; it is then held by the caller."""
        with self.mutex:
            entry = self._waiting.remove(key, self._clock())
            if entry is not None:
                self._hold(entry)
            return entry

    def hurry(self, key: str) -> bool:
        """Let a delayed entry be due now; False where none of that key waits."""
        with self.mutex:
            entry = self._waiting.remove(key, self._clock())
            if entry is None:
                return False
            self._wait(replace(entry, removed=False, ready_at=self._clock()))
            return True

    def finish(self, entry: Entry[T], outcome: str) -> None:
        """Count a held entry as finished with ``outcome``."""
        with self.mutex:
            del self._held[id(entry)]
            self._outcomes[outcome] += 1
            self._departures.append(self._clock())
            self.unfinished_tasks -= 1
            self._tell_if_finished()

    def count(self, outcome: str) -> None:
        """Count something that was accepted and finished without ever waiting."""
        with self.mutex:
            self._accepted += 1
            self._outcomes[outcome] += 1

    def orphans(self) -> list[Entry[T]]:
        """Return held entries whose thread has died, until they are finished or given back."""
        with self.mutex:
            return [e for e in self._held.values() if e.holder and not e.holder.is_alive()]

    def task_done(self) -> None:
        """Not of this queue: use ``finish``."""
        raise TypeError("a BuildQueue's entries are finished with an outcome: use finish()")

    def join(self) -> None:
        """Not of this queue: use ``wait_finished``."""
        raise TypeError("a BuildQueue is waited for with a deadline: use wait_finished()")

    # -- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Take nothing new; what is in, delayed or held is still given out. Harmless twice."""
        with self.mutex:
            self._closed = True
            self.not_empty.notify_all()
            self.not_full.notify_all()

    def halt(self) -> list[Entry[T]]:
        """Close, give nothing more out, and return what still waits, in order."""
        with self.mutex:
            self._closed = self._halted = True
            self.not_empty.notify_all()
            self.not_full.notify_all()
            self.all_tasks_done.notify_all()
            return sorted(self._waiting)

    def unfinished(self) -> list[Entry[T]]:
        """Return what waits or is held, in order."""
        with self.mutex:
            return sorted([*self._waiting, *self._held.values()])

    def wait_finished(self, timeout: float) -> bool:
        """Wait until nothing is reserved, waits or is held; False after ``timeout`` seconds."""
        with self.all_tasks_done:
            self.all_tasks_done.wait_for(lambda: self._halted or self._is_finished(), timeout)
            return self._is_finished()

    # -- looking -------------------------------------------------------------------------------

    @contextmanager
    def frozen(self) -> Iterator[QueueSnapshot]:
        """Hold the queue still and give its snapshot, so that others can be read at that instant.

        Nothing of the queue may be called inside.
        """
        with self.mutex:
            now = self._clock()
            delayed = self._waiting.delayed(now)
            oldest = min((entry.queued_at for entry in self._waiting), default=now)
            yield QueueSnapshot(
                waiting=len(self._waiting) - delayed,
                delayed=delayed,
                held=len(self._held),
                capacity=self.maxsize,
                accepted=self._accepted,
                full=self._full,
                outcomes=Counter(self._outcomes),
                oldest_queued_seconds=max(0.0, now - oldest),
            )

    def snapshot(self) -> QueueSnapshot:
        """Return all counts from one instant."""
        with self.frozen() as snapshot:
            return snapshot

    def retry_after(self) -> int:
        """Return the seconds (1 to 60) in which what waits drains at the measured rate.

        60 when nothing finished within the last 30 seconds.
        """
        with self.mutex:
            now = self._clock()
            while self._departures and self._departures[0] < now - RATE_WINDOW_SECONDS:
                self._departures.popleft()
            if not self._departures:
                return MAX_RETRY_AFTER
            rate = len(self._departures) / max(now - self._departures[0], 1.0)
            return min(MAX_RETRY_AFTER, max(1, math.ceil(self._occupied() / rate)))

    # -- with the mutex held -------------------------------------------------------------------

    def _init(self, maxsize: int) -> None:
        pass

    def _qsize(self) -> int:
        return len(self._waiting)

    def _occupied(self) -> int:
        return len(self._waiting) + self._reserved + self._backlog

    def _is_finished(self) -> bool:
        return not self.unfinished_tasks and not self._reserved

    def _tell_if_finished(self) -> None:
        if self._is_finished():
            self.all_tasks_done.notify_all()
            self.not_empty.notify_all()

    def _wait(self, entry: Entry[T]) -> None:
        self._waiting.add(entry, self._clock())
        self.not_empty.notify()

    def _seconds_until(self, deadline: float | None) -> float | None:
        moments = [m for m in (self._waiting.next_due(), deadline) if m is not None]
        return max(0.0, min(moments) - self._clock()) if moments else None

    def _past(self, deadline: float | None) -> bool:
        return deadline is not None and self._clock() >= deadline
