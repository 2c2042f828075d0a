"""The pool: growth, panics, dead threads, and stops, with real threads."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lambda_builder.pipeline.ordering import Entry
from lambda_builder.pipeline.pool import TICK_SECONDS, WorkerDied, WorkerPool
from lambda_builder.pipeline.queue import BuildQueue, QueueClosed
from tests.waiting import WAIT_SECONDS, wait_until


class Panics:
    def __init__(self, build_queue: BuildQueue[int]) -> None:
        self.queue = build_queue
        self.seen: list[tuple[int, BaseException]] = []

    def __call__(self, entry: Entry[int], error: BaseException) -> None:
        self.seen.append((entry.item, error))
        self.queue.finish(entry, "dead")


def always(_stopping: threading.Event) -> bool:
    return True


@contextmanager
def running(
    run: Callable[[BuildQueue[int], Entry[int]], None],
    *,
    minimum: int = 3,
    maximum: int = 3,
    idle_seconds: float = 30.0,
    may_take: Callable[[threading.Event], bool] = always,
    tick_seconds: float = 0.01,
) -> Iterator[tuple[BuildQueue[int], WorkerPool[int], Panics]]:
    build_queue: BuildQueue[int] = BuildQueue(1000)
    panics = Panics(build_queue)

    def work(entry: Entry[int]) -> bool:
        run(build_queue, entry)
        return True

    pool = WorkerPool(
        build_queue,
        work,
        panics,
        minimum=minimum,
        maximum=maximum,
        may_take=may_take,
        idle_seconds=idle_seconds,
        tick_seconds=tick_seconds,
    )
    pool.start()
    try:
        yield build_queue, pool, panics
    finally:
        build_queue.halt()
        assert pool.stop(WAIT_SECONDS) == []


def put(build_queue: BuildQueue[int], *numbers: int) -> None:
    for number in numbers:
        build_queue.put(Entry(str(number), number))


def finish(build_queue: BuildQueue[int], entry: Entry[int]) -> None:
    build_queue.finish(entry, "created")


def test_every_entry_is_worked_off_once() -> None:
    done: list[int] = []

    def run(build_queue: BuildQueue[int], entry: Entry[int]) -> None:
        done.append(entry.item)
        finish(build_queue, entry)

    with running(run) as (build_queue, _, _panics):
        put(build_queue, *range(300))
        assert build_queue.wait_finished(WAIT_SECONDS)
    assert sorted(done) == list(range(300))


def test_an_idle_worker_wakes_when_a_delayed_entry_is_due() -> None:
    tries: list[float] = []

    def run(build_queue: BuildQueue[int], entry: Entry[int]) -> None:
        tries.append(time.monotonic())
        if len(tries) == 1:
            build_queue.give_back(entry, delay=0.2)
        else:
            finish(build_queue, entry)

    with running(run) as (build_queue, _, _panics):
        put(build_queue, 1)
        assert build_queue.wait_finished(WAIT_SECONDS)
    assert 0.2 <= tries[1] - tries[0] < 2.0


def test_a_panic_costs_only_its_own_entry() -> None:
    def run(build_queue: BuildQueue[int], entry: Entry[int]) -> None:
        if entry.item % 3 == 0:
            raise ZeroDivisionError(entry.item)
        finish(build_queue, entry)

    with running(run) as (build_queue, pool, panics):
        put(build_queue, *range(30))
        assert build_queue.wait_finished(WAIT_SECONDS)
        assert build_queue.snapshot().outcomes == {"created": 20, "dead": 10}
        assert sorted(item for item, _ in panics.seen) == list(range(0, 30, 3))
        assert pool.size == 3


def test_a_thread_that_dies_is_replaced_and_its_entry_handed_over() -> None:
    def run(build_queue: BuildQueue[int], entry: Entry[int]) -> None:
        if entry.item < 3:
            raise SystemExit
        finish(build_queue, entry)

    with running(run) as (build_queue, pool, panics):
        put(build_queue, *range(20))
        assert build_queue.wait_finished(WAIT_SECONDS)
        wait_until(lambda: pool.size == 3, "the dead threads to be replaced")
        assert sorted(item for item, _ in panics.seen) == [0, 1, 2]
        assert all(isinstance(error, WorkerDied) for _, error in panics.seen)
        assert build_queue.snapshot().outcomes == {"created": 17, "dead": 3}


def test_the_pool_grows_while_work_is_being_finished_and_shrinks_when_idle() -> None:
    release = threading.Event()

    def run(build_queue: BuildQueue[int], entry: Entry[int]) -> None:
        release.wait(0.02)
        finish(build_queue, entry)

    with running(run, minimum=2, maximum=6, idle_seconds=0.1) as (build_queue, pool, _):
        put(build_queue, *range(900))
        wait_until(lambda: pool.size == 6, "the pool to grow to its maximum")
        release.set()
        assert build_queue.wait_finished(WAIT_SECONDS)
        wait_until(lambda: pool.size == 2, "the pool to shrink to its minimum")


@pytest.mark.parametrize("seconds", [0.2, 1.0, 2.0])
def test_the_pool_grows_to_its_maximum_with_calls_that_are_slow_and_end(seconds: float) -> None:
    release = threading.Event()

    def run(build_queue: BuildQueue[int], entry: Entry[int]) -> None:
        release.wait(seconds)
        finish(build_queue, entry)

    options: dict[str, Any] = {"minimum": 5, "maximum": 20, "tick_seconds": TICK_SECONDS}
    with running(run, **options) as (build_queue, pool, _):
        put(build_queue, *range(900))
        wait_until(lambda: pool.size == 20, "the pool to grow to its maximum", 6 + 4 * seconds)
        release.set()


def test_the_pool_grows_no_more_once_calls_begin_to_hang() -> None:
    release, hang = threading.Event(), threading.Event()

    def run(build_queue: BuildQueue[int], entry: Entry[int]) -> None:
        if entry.item >= 4:
            hang.set()
            release.wait()
        finish(build_queue, entry)

    ticks = threading.Semaphore(0)
    with running(run, minimum=2, maximum=20) as (build_queue, pool, _):
        look = pool._recover

        def counted() -> None:
            ticks.release()
            look()

        pool._recover = counted  # type: ignore[method-assign]
        put(build_queue, *range(900))
        assert hang.wait(WAIT_SECONDS)
        for _ in range(100):
            assert ticks.acquire(timeout=WAIT_SECONDS)
        # Each of the four that were finished may have paid for one.
        assert pool.size <= 6
        release.set()


def test_the_pool_never_grows_while_calls_hang() -> None:
    release = threading.Event()
    ticks = threading.Semaphore(0)

    def run(build_queue: BuildQueue[int], entry: Entry[int]) -> None:
        release.wait()
        finish(build_queue, entry)

    with running(run, minimum=2, maximum=6) as (build_queue, pool, _):
        look = pool._recover

        def counted() -> None:
            ticks.release()
            look()

        pool._recover = counted  # type: ignore[method-assign]
        put(build_queue, *range(100))
        for _ in range(20):
            assert ticks.acquire(timeout=WAIT_SECONDS)
        assert pool.size == 2
        release.set()


def test_held_workers_take_nothing_and_still_stop_at_once() -> None:
    def held(stopping: threading.Event) -> bool:
        stopping.wait()
        return False

    with running(finish, may_take=held) as (build_queue, pool, _):
        put(build_queue, 1)
        wait_until(lambda: pool.size == 3, "the workers")
        assert build_queue.snapshot().waiting == 1


def test_stop_says_which_threads_are_still_alive() -> None:
    release, begun = threading.Event(), threading.Event()

    def run(build_queue: BuildQueue[int], entry: Entry[int]) -> None:
        begun.set()
        release.wait()
        finish(build_queue, entry)

    with running(run, minimum=1, maximum=1) as (build_queue, pool, _):
        put(build_queue, 1)
        assert begun.wait(WAIT_SECONDS)
        build_queue.halt()
        assert pool.stop(0.05) == ["build-1"]
        release.set()
        assert pool.stop(WAIT_SECONDS) == []


def test_stop_before_start_is_harmless_and_final() -> None:
    build_queue: BuildQueue[int] = BuildQueue(1)
    pool = WorkerPool(build_queue, bool, Panics(build_queue), minimum=2, maximum=2, may_take=always)
    assert pool.stop(1.0) == []
    pool.start()
    assert pool.size == 0


@pytest.mark.parametrize("seed", range(5))
def test_start_stop_and_resize_survive_being_hammered_from_several_threads(seed: int) -> None:
    rng = random.Random(seed)
    build_queue: BuildQueue[int] = BuildQueue(10_000)
    pool = WorkerPool(
        build_queue,
        lambda entry: finish(build_queue, entry) is None,
        Panics(build_queue),
        minimum=2,
        maximum=4,
        may_take=always,
        tick_seconds=0.001,
    )
    errors: list[BaseException] = []

    def hammer(number: int, choices: list[int]) -> None:
        try:
            for step, choice in enumerate(choices):
                if choice == 0:
                    pool.start()
                elif choice == 1:
                    pool.resize(1 + step % 3, 4)
                else:
                    build_queue.put(Entry(f"{number}-{step}", step))
        except QueueClosed:
            pass
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [
        threading.Thread(target=hammer, args=(n, [rng.randrange(4) for _ in range(200)]))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    stoppers = [threading.Thread(target=lambda: pool.stop(WAIT_SECONDS)) for _ in range(2)]
    for thread in threads:
        thread.join(WAIT_SECONDS)
    build_queue.close()
    for thread in stoppers:
        thread.start()
    for thread in stoppers:
        thread.join(WAIT_SECONDS)
    assert not errors
    assert pool.stop(WAIT_SECONDS) == []
    assert pool.size == 0
    snapshot = build_queue.snapshot()
    assert snapshot.accepted == snapshot.depth + snapshot.outcomes.total()
