"""The scheduler itself: it finds what it looks for, and the same seed gives the same run."""

from __future__ import annotations

import gc
import threading

import pytest

from tests.races.conftest import Explore
from tests.races.orders import run, together
from tests.races.scheduler import Scheduler, Stuck
from tests.races.standins import Condition, Event, Lock


def test_a_lost_update_is_found(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        count = 0

        def add() -> None:
            nonlocal count
            seen = count
            scheduler.turn()
            count = seen + 1

        together(scheduler, add, add)
        assert count == 2

    with pytest.raises(AssertionError) as failure:
        in_all_orders(scenario, 20)
    assert "RACES_SEED=" in failure.value.__notes__[0]


def test_two_locks_taken_crosswise_are_found(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        first, second = Lock(scheduler), Lock(scheduler)

        def hold(one: Lock, other: Lock) -> None:
            with one, other:
                pass

        together(scheduler, lambda: hold(first, second), lambda: hold(second, first))

    with pytest.raises(Stuck):
        in_all_orders(scenario, 50)


def test_a_missed_wake_is_found(in_all_orders: Explore) -> None:
    def scenario(scheduler: Scheduler) -> None:
        changed = Condition(scheduler)

        def wait() -> None:
            with changed:
                changed.wait()

        def wake() -> None:
            with changed:
                changed.notify_all()

        together(scheduler, wait, wake)

    with pytest.raises(Stuck):
        in_all_orders(scenario, 20)


def test_time_passes_when_all_wait_for_it() -> None:
    passed = []

    def scenario(scheduler: Scheduler) -> None:
        began = scheduler.now
        assert not Event(scheduler).wait(3600.0)
        passed.append(scheduler.now - began)

    assert run(scenario, 1).failure is None
    assert passed == [3600.0]


def test_the_same_seed_gives_the_same_order() -> None:
    def scenario(scheduler: Scheduler) -> None:
        lock = Lock(scheduler)

        def take_turns() -> None:
            for _ in range(20):
                with lock:
                    scheduler.turn()

        together(scheduler, take_turns, take_turns, take_turns)

    orders = [run(scenario, seed).order.hexdigest() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert not [t for t in threading.enumerate() if t.name == "scenario"]


def test_what_others_left_for_the_collector_is_not_ended_in_the_middle_of_a_turn() -> None:
    class Left:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            ended.append(self)

    ended: list[Left] = []
    during = []

    def scenario(_scheduler: Scheduler) -> None:
        Left()
        made = [[number] for number in range(10 * gc.get_threshold()[0])]
        during.append((len(made), [*ended]))

    assert run(scenario, 1).failure is None
    assert during == [(10 * gc.get_threshold()[0], [])]
    assert gc.isenabled()
    gc.collect()
    assert len(ended) == 1
