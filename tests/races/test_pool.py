"""Workers that are stopped, resized, killed and refilled while they work."""

from __future__ import annotations

from collections import Counter

from lambda_builder.pipeline.ordering import Entry
from lambda_builder.pipeline.pool import WorkerPool
from lambda_builder.pipeline.queue import BuildQueue
from tests.races.conftest import Explore
from tests.races.orders import together
from tests.races.scheduler import Scheduler


class Works:
    """A pool whose work goes wrong in every way, and what it was given."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.queue: BuildQueue[str] = BuildQueue(10, clock=lambda: scheduler.now)
        self.ended: Counter[str] = Counter()
        self.running = self.most = 0
        self._rng = scheduler.rng
        self._scheduler = scheduler
        self._died: set[str] = set()
        self.pool = WorkerPool(
            self.queue,
            self.run,
            self.panicked,
            minimum=1,
            maximum=3,
            may_take=lambda stopping: not stopping.is_set(),
            idle_seconds=1.0,
        )

    def put(self, *keys: str) -> None:
        self.queue.reserve(len(keys))
        self.queue.put_reserved([Entry(key, key) for key in keys])

    def run(self, entry: Entry[str]) -> bool:
        self.running += 1
        self.most = max(self.most, self.running)
        self._scheduler.turn()
        self.running -= 1
        what = self._rng.randrange(5)
        if what == 0 and entry.key not in self._died:
            self._died.add(entry.key)
            raise SystemExit  # the thread ends with the entry in its hand
        if what == 1:
            raise ValueError(entry.key)
        if what == 2:
            self.queue.give_back(entry, delay=0.1)
            return False
        self.end(entry, "created")
        return True

    def panicked(self, entry: Entry[str], _error: BaseException) -> None:
        self.end(entry, "dead")

    def end(self, entry: Entry[str], outcome: str) -> None:
        self.ended[entry.key] += 1
        self.queue.finish(entry, outcome)

    def drain(self) -> None:
        """Work off all, whoever dies meanwhile, and end."""
        while self.queue.snapshot().outcomes.total() < self.queue.snapshot().accepted:
            self.queue.wait_finished(0.5)
        self.queue.close()
        while self.pool.stop(60.0):
            pass


def test_every_entry_ends_once_however_the_workers_die(in_all_orders: Explore) -> None:
    keys = "abcde"

    def scenario(scheduler: Scheduler) -> None:
        works = Works(scheduler)
        together(
            scheduler,
            works.pool.start,
            works.pool.start,
            lambda: works.put(*keys[:3]),
            lambda: works.put(*keys[3:]),
            lambda: works.pool.resize(2, 3),
        )
        works.drain()
        assert works.ended == Counter(keys)
        assert works.most <= 3
        assert works.pool.size == 0
        assert works.queue.orphans() == []

    in_all_orders(scenario, 100)


def test_start_stop_and_resize_at_once_leave_no_worker_behind(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        works = Works(scheduler)

        def stop() -> None:
            works.queue.halt()
            while works.pool.stop(60.0):
                pass

        together(
            scheduler,
            works.pool.start,
            lambda: works.pool.resize(scheduler.rng.randint(1, 3), 3),
            stop,
            stop,
        )
        stop()
        assert works.pool.size == 0

    in_all_orders(scenario, 100)


def test_workers_beyond_the_minimum_leave_and_no_others(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        works = Works(scheduler)
        works.pool.resize(3, 3)
        works.pool.start()
        works.pool.resize(1, 3)
        while works.pool.size > 1:
            scheduler.wait(lambda: False, 0.01)
        for _ in range(20):
            assert works.pool.size == 1, "the last worker left as well"
            scheduler.wait(lambda: False, 0.01)
        works.drain()

    in_all_orders(scenario, 60)
