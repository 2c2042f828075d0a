"""Senders, workers, cancels and the end of the queue at once: nothing is lost, doubled or stuck."""

from __future__ import annotations

import functools
import queue
from collections import Counter
from contextlib import suppress

from lambda_builder.pipeline.ordering import Entry
from lambda_builder.pipeline.queue import BuildQueue, QueueClosed
from tests.races.conftest import Explore
from tests.races.orders import begun, together
from tests.races.scheduler import Scheduler


class Books:
    """A queue, and what was done with its entries."""

    def __init__(self, scheduler: Scheduler, size: int) -> None:
        self.queue: BuildQueue[str] = BuildQueue(size, clock=lambda: scheduler.now)
        self.entered: list[str] = []
        self.ended: Counter[str] = Counter()

    def put(self, *keys: str) -> None:
        try:
            self.queue.reserve(len(keys))
        except (queue.Full, QueueClosed):
            return
        self.entered += keys
        self.queue.put_reserved([Entry(key, key) for key in keys])

    def give_up(self) -> None:
        try:
            self.queue.reserve()
        except (queue.Full, QueueClosed):
            return
        self.queue.release()

    def replay(self, *keys: str) -> None:
        for key in keys:
            try:
                self.queue.put_expected(Entry(key, key))
            except QueueClosed:
                return
            self.entered.append(key)

    def work(self, *, again: bool) -> None:
        """Take what comes until the end; the first entry goes back once."""
        while True:
            try:
                entry = self.queue.get()
            except QueueClosed:
                return
            if again:
                again = False
                self.queue.give_back(entry, delay=0.5)
            else:
                self.finish(entry, "created")

    def cancel(self, key: str) -> None:
        entry = self.queue.remove(key)
        if entry is not None:
            self.finish(entry, "cancelled")

    def finish(self, entry: Entry[str], outcome: str) -> None:
        self.ended[entry.key] += 1
        self.queue.finish(entry, outcome)

    def check(self) -> None:
        counts = self.queue.snapshot()
        assert counts.accepted == counts.depth + counts.held + counts.outcomes.total()
        assert counts.accepted == len(self.entered)
        assert counts.outcomes.total() == self.ended.total()


def test_every_entry_leaves_the_queue_once(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        books = Books(scheduler, 3)
        books.queue.expect(1)
        workers = begun(scheduler, lambda: books.work(again=True), lambda: books.work(again=False))

        closing = [books.queue.close] * scheduler.rng.randint(0, 1)

        def look() -> None:
            for _ in range(3):
                counts = books.queue.snapshot()
                assert counts.accepted == counts.depth + counts.held + counts.outcomes.total()

        together(
            scheduler,
            lambda: books.put("a", "b"),
            lambda: books.put("c"),
            lambda: books.replay("old"),
            books.give_up,
            lambda: books.cancel("a"),
            look,
            *closing,
        )
        assert books.queue.wait_finished(10.0), "workers sleep beside what waits"
        if not closing:
            books.queue.close()
        for worker in workers:
            worker.join()
        books.check()
        assert books.ended == Counter(books.entered)

    in_all_orders(scenario, 200)


def test_no_more_enter_than_there_is_room_for(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        books = Books(scheduler, 2)
        together(scheduler, *[functools.partial(books.put, key) for key in "abcd"], books.give_up)
        books.check()
        assert len(books.entered) in (1, 2)

    in_all_orders(scenario, 100)


def test_who_drains_sees_the_end_and_what_is_left(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        books = Books(scheduler, 5)

        def take_and_hang() -> None:
            with suppress(QueueClosed):
                books.queue.get()

        def stop() -> None:
            books.queue.close()
            books.queue.wait_finished(scheduler.rng.choice((0.0, 0.1, 10.0)))
            books.queue.halt()

        together(
            scheduler,
            lambda: books.put("a", "b", "c"),
            lambda: books.work(again=True),
            take_and_hang,
            lambda: books.cancel("b"),
            stop,
        )
        books.check()
        left = {entry.key for entry in books.queue.unfinished()}
        assert left == set(books.entered) - set(books.ended)
        assert books.ended.total() == len(books.ended)

    in_all_orders(scenario, 150)
