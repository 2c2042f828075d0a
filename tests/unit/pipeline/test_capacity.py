"""A full quota holds the workers back, and lets one at a time try."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lambda_builder.pipeline.capacity import Capacity


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Workers:
    """Two workers that ask without waiting."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.capacity = Capacity(rng=random.Random(1), clock=self.clock)
        self._threads = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)]

    def do(self, number: int, what: Callable[[], object]) -> object:
        return self._threads[number].submit(what).result(10)

    def may(self, number: int) -> bool:
        """Whether that worker is let through now."""
        answer: list[bool] = []
        stopping = threading.Event()

        class Once(threading.Event):
            looked = False

            def is_set(self) -> bool:
                was, self.looked = self.looked, True
                return was or stopping.is_set()

        self.do(number, lambda: answer.append(self.capacity.may_take(Once())))
        return answer[0]

    def close(self) -> None:
        for thread in self._threads:
            thread.shutdown()


def test_nobody_is_held_without_a_refusal() -> None:
    workers = Workers()
    assert workers.may(0)
    assert workers.may(1)
    assert not workers.capacity.blocked
    workers.close()


def test_one_at_a_time_tries_again_with_gaps_that_grow_to_half_a_minute() -> None:
    workers = Workers()
    workers.do(0, lambda: workers.capacity.refused("builds"))
    workers.do(1, lambda: workers.capacity.refused("builds"))  # begun before, says nothing new
    gaps = []
    for _ in range(12):
        gaps.append(workers.capacity._next_at - workers.clock.now)
        workers.clock.now = workers.capacity._next_at
        assert workers.may(0)
        workers.do(0, lambda: workers.capacity.refused("builds"))
    assert not workers.may(1)
    assert gaps[0] <= 0.5
    assert all(15 <= gap <= 30 for gap in gaps[6:])
    workers.close()


def test_a_job_that_ends_lets_the_next_try_come_at_once() -> None:
    workers = Workers()
    workers.do(0, lambda: workers.capacity.refused("builds"))
    assert not workers.may(0)
    workers.capacity.room_made()
    assert workers.may(0)
    workers.close()


def test_the_others_go_on_once_some_got_through_in_a_row() -> None:
    workers = Workers()
    workers.do(0, lambda: workers.capacity.refused("builds"))
    workers.capacity.room_made()
    for _ in range(5):
        assert workers.may(0)
        assert not workers.may(1)
        workers.do(0, workers.capacity.admitted)
    assert not workers.capacity.blocked
    assert workers.may(0)
    assert workers.may(1)
    workers.close()


def test_a_probe_whose_thread_found_nothing_to_do_or_died_is_made_by_another() -> None:
    workers = Workers()
    workers.do(0, lambda: workers.capacity.refused("builds"))
    workers.capacity.room_made()
    assert workers.may(0)
    assert workers.may(0), "it asks again: the last probe said nothing"
    assert not workers.may(1)
    workers._threads[0].shutdown()
    assert workers.may(1)
    workers.close()


def test_gaps_grow_also_when_two_full_quotas_are_named_in_turn() -> None:
    workers = Workers()
    gaps = []
    for number in range(12):
        workers.clock.now += 60
        assert workers.may(0)
        workers.do(0, lambda: workers.capacity.refused(f"quota-{number % 2}"))  # noqa: B023
        gaps.append(workers.capacity._next_at - workers.clock.now)
    assert gaps[-1] >= 15
    workers.close()
