"""BuildQueue: a bounded ``queue.Queue`` with reservations, priorities, fair turns and delays.

Knows nothing of builds, Kubernetes or HTTP. What waits and what is delayed both fill it; a getter
sees only what is due. All counting happens under the queue's one mutex, so a snapshot adds up:
accepted = waiting + delayed + held by workers + finished. It costs the same however many wait.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from lambda_builder.pipeline.accounts import MAX_RETRY_AFTER, Accounts, QueueSnapshot
from lambda_builder.pipeline.ordering import Entry, Ordering, positions

T = TypeVar("T")


class QueueClosed(Exception):
    """The queue takes (or, once halted or drained, gives) nothing more."""


class TenantFull(queue.Full):
    """One tenant may fill no more of the queue."""


class BuildQueue(queue.Queue[Entry[T]]):
    """Bounded queue of entries; every method is thread-safe.

    ``maxsize`` bounds what waits, is delayed or reserved, and ``max_bytes`` how much that takes,
    though what waits alone may be larger. What a worker gives back is always
    taken, so the depth can pass ``maxsize`` by the number of workers, never by new entries. Each
    added entry wakes one getter, and waiters are woken in the order they came, so no getter
    without a timer sleeps while a delayed entry falls due.
    """

    def __init__(
        self,
        maxsize: int,
        *,
        max_bytes: int = sys.maxsize,
        tenant_share: float = 1.0,
        others: Callable[[], tuple[int, Mapping[str, int]]] = lambda: (0, {}),
        fair: bool = False,
        stalled: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``tenant_share`` is how much of all queues one tenant may fill by ``reserve``, at least
        one slot. ``others`` says what the others' ``maxsize`` come to, and what waits there by
        tenant, as far as is known: the bound is no more exact than that. ``stalled`` says whether
        it is known that nothing can be finished now. Both must be quick.
        """
        super().__init__(maxsize)
        self._max_bytes = max_bytes
        self._reserved_bytes = 0
        self._tenant_share = tenant_share
        self._others = others
        self._of_tenants: Counter[str] = Counter()
        """What waits or is reserved, where that is bounded."""
        self._stalled = stalled
        self._clock = clock
        self._waiting: Ordering[T] = Ordering(fair=fair)
        self._accounts: Accounts[T] = Accounts()
        self._reserved = 0
        self._backlog = 0
        self._closed = self._halted = False

    # -- room ----------------------------------------------------------------------------------

    def reserve(self, count: int = 1, size: int = 0, tenants: Iterable[str] = ()) -> None:
        """Take ``count`` slots and ``size`` bytes for ``put_reserved``.

        ``tenants`` are whose the slots are, each as often as it gets one. Raises ``queue.Full``,
        ``TenantFull`` where there is room that may not be had, or ``QueueClosed``.
        """
        with self.mutex:
            if self._closed:
                raise QueueClosed
            if self._occupied() + count > self.maxsize or not self._holds(size):
                self._accounts.full += 1
                raise queue.Full
            if self._tenant_share < 1:
                self._take_share(Counter(tenants))
            self._reserved += count
            self._reserved_bytes += size

    def _take_share(self, wanted: Counter[str]) -> None:
        capacity, waiting = self._others()
        most = max(1, int(self._tenant_share * (self.maxsize + capacity)))
        for tenant, count in wanted.items():
            if self._of_tenants[tenant] + waiting.get(tenant, 0) + count > most:
                raise TenantFull
        self._of_tenants += wanted

    def release(self, count: int = 1, size: int = 0, tenants: Iterable[str] = ()) -> None:
        """Give reserved slots back unused."""
        with self.mutex:
            self._reserved -= count
            self._reserved_bytes -= size
            if self._tenant_share < 1:
                self._of_tenants -= Counter(tenants)
            self.not_full.notify_all()
            self._tell_if_finished()

    def put_reserved(self, entries: Iterable[Entry[T]]) -> None:
        """Put entries into slots reserved before; works on a closed queue too, and never waits."""
        with self.mutex:
            for entry in entries:
                self._reserved -= 1
                self._reserved_bytes -= entry.size
                self._count_tenant(entry, -1)
                self._add(entry)

    def expect(self, count: int) -> None:
        """Announce ``count`` older entries: they hold their room against ``reserve``."""
        with self.mutex:
            self._backlog += count
            self.not_full.notify_all()

    def await_room(self, timeout: float) -> int:
        """Wait until an announced entry may be put; returns how many may be, 0 after ``timeout``.

        Raises ``QueueClosed`` once closed.
        """
        with self.not_full:
            self.not_full.wait_for(lambda: self._closed or self._room_for_expected() > 0, timeout)
            if self._closed:
                raise QueueClosed
            return max(0, self._room_for_expected())

    def put_expected(self, entry: Entry[T], timeout: float | None = None) -> None:
        """Put an announced entry once fewer than ``maxsize`` wait and there is room for its bytes.

        Raises ``queue.Full`` after ``timeout`` seconds and ``QueueClosed`` once closed.
        """
        with self.not_full:
            self._await_room(
                lambda: self._room_for_expected() > 0 and self._holds(entry.size), timeout
            )
            self._backlog -= 1
            self._add(entry)

    def unexpect(self, count: int = 1) -> None:
        """Withdraw announced entries that will not come."""
        self.expect(-count)

    def put(self, item: Entry[T], block: bool = True, timeout: float | None = None) -> None:
        """Put one entry, waiting for room if ``block``; raises as ``put_expected``."""
        with self.not_full:
            self._await_room(
                lambda: self._occupied() < self.maxsize and self._holds(item.size),
                timeout if block else 0,
            )
            self._add(item)

    def _await_room(self, has_room: Callable[[], bool], timeout: float | None) -> None:
        free = self.not_full.wait_for(lambda: self._closed or has_room(), timeout)
        if self._closed:
            raise QueueClosed
        if not free:
            self._accounts.full += 1
            raise queue.Full

    def _add(self, entry: Entry[T]) -> None:
        self._accounts.enter(entry, self._clock())
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
                entry = self._waiting.pop(self._clock())
                if entry is not None:
                    self._hold(entry)
                    return entry
                if self._closed and self._is_finished():
                    raise QueueClosed
                if not block or (deadline is not None and self._clock() >= deadline):
                    raise queue.Empty
                self.not_empty.wait(self._seconds_until(deadline))

    def _hold(self, entry: Entry[T]) -> None:
        self._accounts.hold(entry)
        self._count_tenant(entry, -1)
        entry.holder = threading.current_thread()
        self.not_full.notify_all()

    def give_back(self, entry: Entry[T], delay: float = 0.0) -> None:
        """Let a held entry wait again, for ``delay`` seconds at least, at its old place."""
        with self.mutex:
            self._accounts.put_back(entry)
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

    def finish(self, entry: Entry[T], outcome: str) -> None:
        """Count a held entry as finished with ``outcome``."""
        with self.mutex:
            self._accounts.finish(entry, outcome, self._clock())
            self._tell_if_finished()

    def leave(self, entry: Entry[T]) -> None:
        """Forget a held entry, which is somebody else's from now on: it was never accepted here."""
        with self.mutex:
            self._accounts.leave(entry)
            self._tell_if_finished()

    def count(self, outcome: str) -> None:
        """Count something that was accepted and finished without ever waiting."""
        with self.mutex:
            self._accounts.accepted += 1
            self._accounts.outcomes[outcome] += 1

    def is_held(self, key: str) -> bool:
        """Whether somebody has taken the entry of that key and not ended it."""
        with self.mutex:
            return any(entry.key == key for entry in self._accounts.held())

    def orphans(self) -> list[Entry[T]]:
        """Return held entries whose thread has died, until they are finished or given back."""
        with self.mutex:
            return [e for e in self._accounts.held() if e.holder and not e.holder.is_alive()]

    def task_done(self) -> None:
        """Not of this queue: ``finish`` says with which outcome, ``wait_finished`` how long."""
        raise TypeError("use finish() and wait_finished()")

    join = task_done

    # -- the end -------------------------------------------------------------------------------

    def close(self) -> None:
        """Take nothing new; what is in, delayed or held is still given out. Harmless twice."""
        with self.mutex:
            self._closed = True
            self.not_empty.notify_all()
            self.not_full.notify_all()

    def halt(self) -> list[Entry[T]]:
        """Close, give nothing more out, and return what still waits, in order."""
        self.close()
        with self.mutex:
            self._halted = True
            self.not_empty.notify_all()
            self.all_tasks_done.notify_all()
            return [*self._accounts.waiting()]

    def unfinished(self) -> list[Entry[T]]:
        """Return what waits or is held, in order."""
        with self.mutex:
            return self._accounts.unfinished()

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
            yield self._accounts.snapshot(
                depth=len(self._waiting),
                delayed=self._waiting.delayed(now),
                capacity=self.maxsize,
                now=now,
            )

    def snapshot(self) -> QueueSnapshot:
        """Return all counts from one instant."""
        with self.frozen() as snapshot:
            return snapshot

    def positions(self) -> dict[str, int]:
        """Return the place of each entry that waits or is delayed, from 1, by its key.

        One pass over all of them: a page of places costs no more than one. The queue is held only
        while they are copied.
        """
        with self.mutex:
            entries, turns = self._waiting.turns()
        return positions(entries, turns)

    def retry_after(self) -> int:
        """Return the seconds (1 to 60) in which what waits drains at the measured rate.

        60 while nothing can be finished, whatever the rate was before.
        """
        if self._stalled is not None and self._stalled():
            return MAX_RETRY_AFTER
        with self.mutex:
            return self._accounts.seconds_for(self._occupied(), self._clock())

    # -- with the mutex held -------------------------------------------------------------------

    def _init(self, maxsize: int) -> None:
        pass

    def _qsize(self) -> int:
        return len(self._waiting)

    def _occupied(self) -> int:
        return len(self._waiting) + self._reserved + self._backlog

    def _room_for_expected(self) -> int:
        return self.maxsize - len(self._waiting)

    def _holds(self, size: int) -> bool:
        taken = self._waiting.size + self._reserved_bytes
        return not taken or taken + size <= self._max_bytes

    def _is_finished(self) -> bool:
        return not self._accounts and not self._reserved

    def _tell_if_finished(self) -> None:
        if self._is_finished():
            self.all_tasks_done.notify_all()
            self.not_empty.notify_all()

    def _wait(self, entry: Entry[T]) -> None:
        self._waiting.add(entry, self._clock())
        self._count_tenant(entry, 1)
        self.not_empty.notify()

    def _count_tenant(self, entry: Entry[T], change: int) -> None:
        if self._tenant_share < 1:
            count = self._of_tenants[entry.tenant] + change
            if count:
                self._of_tenants[entry.tenant] = count
            else:
                del self._of_tenants[entry.tenant]

    def _seconds_until(self, deadline: float | None) -> float | None:
        moments = [m for m in (self._waiting.next_due(), deadline) if m is not None]
        return max(0.0, min(moments) - self._clock()) if moments else None
