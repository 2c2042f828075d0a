"""The queue: capacity, order, delays, turns and counts, without threads and on a clock of ours."""

from __future__ import annotations

import queue
import random
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambda_builder.pipeline.ordering import PRIORITY_SECONDS, Entry, Ordering
from lambda_builder.pipeline.queue import BuildQueue, QueueClosed


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def entry(key: str, *, priority: int = 1, tenant: str = "") -> Entry[str]:
    return Entry(key, key, priority, tenant)


def filled(*keys: str, fair: bool = False, size: int = 100) -> BuildQueue[str]:
    build_queue: BuildQueue[str] = BuildQueue(size, fair=fair)
    for key in keys:
        build_queue.put(entry(key, tenant=key[0]))
    return build_queue


def drained(build_queue: BuildQueue[str]) -> list[str]:
    keys = []
    while True:
        try:
            keys.append(build_queue.get(block=False).key)
        except queue.Empty:
            return keys


def test_entries_leave_in_the_order_they_came() -> None:
    assert drained(filled("a1", "a2", "b1", "a3")) == ["a1", "a2", "b1", "a3"]


def test_fair_turns_let_no_tenant_starve_the_rest() -> None:
    keys = [f"a{n}" for n in range(5)] + ["b0", "c0", "b1"]
    assert drained(filled(*keys, fair=True)) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3", "a4"]


@pytest.mark.parametrize("fair", [False, True])
def test_higher_priorities_leave_first(fair: bool) -> None:
    build_queue: BuildQueue[str] = BuildQueue(10, fair=fair)
    for key, priority in [("low", 2), ("normal", 1), ("high", 0), ("normal2", 1)]:
        build_queue.put(entry(key, priority=priority))
    assert drained(build_queue) == ["high", "normal", "normal2", "low"]


def test_one_tenants_high_priority_starves_nobody_when_turns_are_fair() -> None:
    build_queue: BuildQueue[str] = BuildQueue(100, fair=True)
    for number in range(5):
        build_queue.put(entry(f"a{number}", priority=0, tenant="a"))
    for key in ("b-low", "c-low"):
        build_queue.put(entry(key, priority=2, tenant=key[0]))
    build_queue.put(entry("b-high", priority=0, tenant="b"))
    assert drained(build_queue) == ["a0", "b-high", "c-low", "a1", "b-low", "a2", "a3", "a4"]


@pytest.mark.parametrize("fair", [False, True])
def test_a_low_build_is_passed_by_no_high_one_that_comes_five_minutes_later(fair: bool) -> None:
    clock = Clock()
    build_queue: BuildQueue[str] = BuildQueue(1000, fair=fair, clock=clock)
    build_queue.put(entry("low", priority=2))
    left = []
    for number in range(400):  # one high build comes each second, and one entry leaves
        build_queue.put(entry(f"high-{number}", priority=0))
        left.append(build_queue.get(block=False).key)
        clock.now += 1.0
    assert left.index("low") == pytest.approx(300, abs=1)


def test_a_full_queue_refuses_and_counts_it() -> None:
    build_queue = filled("a", "b", size=2)
    with pytest.raises(queue.Full):
        build_queue.reserve()
    with pytest.raises(queue.Full):
        build_queue.put(entry("c"), block=False)
    assert build_queue.snapshot().full == 2


def test_a_reservation_holds_its_room_until_it_is_used_or_released() -> None:
    build_queue: BuildQueue[str] = BuildQueue(2)
    build_queue.reserve(2)
    with pytest.raises(queue.Full):
        build_queue.reserve()
    build_queue.release()
    build_queue.reserve()
    build_queue.put_reserved([entry("a"), entry("b")])
    assert build_queue.snapshot().depth == 2
    with pytest.raises(queue.Full):
        build_queue.reserve()


def test_a_batch_gets_all_its_slots_or_none() -> None:
    build_queue = filled("a", size=3)
    with pytest.raises(queue.Full):
        build_queue.reserve(3)
    build_queue.reserve(2)


def test_announced_entries_hold_their_room_against_new_ones() -> None:
    build_queue: BuildQueue[str] = BuildQueue(3)
    build_queue.expect(5)
    with pytest.raises(queue.Full):
        build_queue.reserve()
    for key in "abc":
        build_queue.put_expected(entry(key), timeout=0)
    with pytest.raises(queue.Full):
        build_queue.put_expected(entry("d"), timeout=0)
    assert drained(build_queue) == ["a", "b", "c"]
    build_queue.reserve()  # beside the two that are still to come
    with pytest.raises(queue.Full):
        build_queue.reserve()
    build_queue.unexpect(2)
    build_queue.reserve(2)
    with pytest.raises(queue.Full):
        build_queue.reserve()


def test_a_retried_entry_is_out_of_sight_until_due_and_then_at_its_old_place() -> None:
    clock = Clock()
    build_queue: BuildQueue[str] = BuildQueue(10, clock=clock)
    for key in "abc":
        build_queue.put(entry(key))
    first = build_queue.get(block=False)
    build_queue.give_back(first, delay=5.0)
    snapshot = build_queue.snapshot()
    assert (snapshot.waiting, snapshot.delayed, snapshot.depth) == (2, 1, 3)
    assert build_queue.get(block=False).key == "b"
    clock.now += 5.0
    assert drained(build_queue) == ["a", "c"]


def test_what_a_worker_gives_back_is_taken_even_when_the_queue_is_full() -> None:
    build_queue = filled("a", "b", size=2)
    held = build_queue.get(block=False)
    build_queue.put(entry("c"))
    build_queue.give_back(held)
    assert build_queue.snapshot().depth == 3
    assert drained(build_queue) == ["a", "b", "c"]


def test_a_delayed_entry_that_is_taken_out_of_turn_and_given_back_leaves_once() -> None:
    clock = Clock()
    build_queue: BuildQueue[str] = BuildQueue(10, clock=clock)
    for key in "ab":
        build_queue.put(entry(key))
    build_queue.give_back(build_queue.get(block=False), delay=60.0)
    taken = build_queue.remove("a")
    assert taken is not None
    assert build_queue.snapshot().held == 1
    build_queue.give_back(taken)
    assert build_queue.remove("nobody") is None
    assert drained(build_queue) == ["a", "b"]
    clock.now += 100
    assert drained(build_queue) == []


def test_an_entry_that_is_taken_out_of_turn_and_given_back_keeps_its_place() -> None:
    build_queue = filled("a", "b")
    for _ in range(3):
        taken = build_queue.remove("a")
        assert taken is not None
        build_queue.give_back(taken)
    assert drained(build_queue) == ["a", "b"]


def test_a_key_can_come_again_while_its_last_entry_is_put_away() -> None:
    build_queue = filled("a")
    first = build_queue.get(block=False)
    build_queue.put(entry("a"))
    second = build_queue.get(block=False)
    build_queue.finish(first, "dead")
    assert build_queue.snapshot().held == 1
    build_queue.finish(second, "created")
    assert build_queue.snapshot().outcomes == {"dead": 1, "created": 1}


def test_two_entries_of_one_key_cannot_wait_at_once() -> None:
    build_queue = filled("a")
    with pytest.raises(ValueError, match="waits already"):
        build_queue.put(entry("a"))


def test_what_a_plain_queue_counts_by_is_forbidden() -> None:
    with pytest.raises(TypeError):
        filled("a").task_done()
    with pytest.raises(TypeError):
        filled("a").join()


def test_a_removed_entry_never_leaves_by_turn() -> None:
    build_queue = filled("a", "b", "c")
    removed = build_queue.remove("b")
    assert removed is not None
    assert build_queue.remove("b") is None
    build_queue.finish(removed, "cancelled")
    assert drained(build_queue) == ["a", "c"]


def test_cancelling_for_ever_costs_no_memory() -> None:
    build_queue: BuildQueue[str] = BuildQueue(10)
    for number in range(5000):
        build_queue.put(entry(str(number)))
        removed = build_queue.remove(str(number))
        assert removed is not None
        build_queue.finish(removed, "cancelled")
    assert sum(map(len, build_queue._waiting._due.values())) < 200


def test_a_closed_queue_gives_out_what_it_has_and_then_says_so() -> None:
    build_queue = filled("a")
    build_queue.close()
    with pytest.raises(QueueClosed):
        build_queue.reserve()
    with pytest.raises(QueueClosed):
        build_queue.put(entry("b"))
    held = build_queue.get(block=False)
    with pytest.raises(queue.Empty):
        build_queue.get(block=False)
    build_queue.give_back(held)
    build_queue.finish(build_queue.get(block=False), "created")
    with pytest.raises(QueueClosed):
        build_queue.get()


def test_a_slot_reserved_before_the_close_can_still_be_used() -> None:
    build_queue: BuildQueue[str] = BuildQueue(2)
    build_queue.reserve()
    build_queue.close()
    with pytest.raises(queue.Empty):
        build_queue.get(block=False)
    build_queue.put_reserved([entry("late")])
    assert build_queue.get(block=False).key == "late"


def test_a_halted_queue_gives_nothing_out_and_returns_what_is_left_in_order() -> None:
    build_queue = filled("a", "b", "c")
    held = build_queue.get(block=False)
    build_queue.give_back(held, delay=60.0)
    assert [left.key for left in build_queue.halt()] == ["a", "b", "c"]
    with pytest.raises(QueueClosed):
        build_queue.get()


def test_retry_after_is_a_minute_while_nothing_drains() -> None:
    assert filled("a", "b").retry_after() == 60


def test_retry_after_follows_the_measured_drain_rate() -> None:
    clock = Clock()
    build_queue: BuildQueue[str] = BuildQueue(100, clock=clock)
    for number in range(100):
        build_queue.put(entry(str(number)))
    for _ in range(20):
        clock.now += 0.5
        build_queue.finish(build_queue.get(block=False), "created")
    # 20 in just under 10 s, 80 still wait.
    assert build_queue.retry_after() == pytest.approx(40, abs=3)
    clock.now += 31
    assert build_queue.retry_after() == 60


def test_retry_after_is_a_minute_while_it_is_known_that_nothing_can_drain() -> None:
    stalled = False
    build_queue: BuildQueue[str] = BuildQueue(10, stalled=lambda: stalled)
    for key in "ab":
        build_queue.put(entry(key))
    build_queue.finish(build_queue.get(block=False), "created")
    assert build_queue.retry_after() == 1
    stalled = True
    assert build_queue.retry_after() == 60


def test_retry_after_is_never_less_than_a_second() -> None:
    build_queue = filled("a", "b")
    build_queue.finish(build_queue.get(block=False), "created")
    assert build_queue.retry_after() == 1


def test_the_age_of_the_oldest_counts_from_its_first_acceptance() -> None:
    clock = Clock()
    build_queue: BuildQueue[str] = BuildQueue(10, clock=clock)
    build_queue.put(entry("a"))
    clock.now += 7
    build_queue.give_back(build_queue.get(block=False), delay=1.0)
    clock.now += 3
    assert build_queue.snapshot().oldest_queued_seconds == 10


def seconds_for_a_snapshot(build_queue: BuildQueue[str]) -> float:
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        build_queue.snapshot()
        times.append(time.perf_counter() - begun)
    return min(times)


def test_a_snapshot_costs_the_same_at_a_hundred_thousand_waiting_entries_as_at_none() -> None:
    crowded: BuildQueue[str] = BuildQueue(100_000)
    for number in range(100_000):
        crowded.put(entry(str(number)))
    for _ in range(50_000):
        crowded.give_back(crowded.get(block=False), delay=3600.0)
    empty: BuildQueue[str] = BuildQueue(10)
    assert crowded.snapshot().delayed == 50_000
    assert seconds_for_a_snapshot(crowded) < 50 * seconds_for_a_snapshot(empty)


def rank(added: Entry[str]) -> float:
    return added.queued_at + added.priority * PRIORITY_SECONDS


class QueueMachine(RuleBasedStateMachine):
    """The queue against a list: the same entries, the same order, the same refusals."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.queue: BuildQueue[str] = BuildQueue(5, clock=self.clock)
        self.waiting: list[tuple[int, int, float, Entry[str]]] = []
        self.held: list[tuple[int, int, Entry[str]]] = []
        self.reserved = 0
        self.number = 0
        self.finished = 0
        self.closed = False

    @rule(priority=st.integers(0, 2))
    def put(self, priority: int) -> None:
        added = entry(f"e{self.number}", priority=priority)
        try:
            self.queue.put(added, block=False)
        except QueueClosed:
            assert self.closed
            return
        except queue.Full:
            assert len(self.waiting) + self.reserved >= 5
            return
        assert not self.closed
        assert len(self.waiting) + self.reserved < 5
        self.waiting.append((priority, self.number, 0.0, added))
        self.number += 1

    @rule(count=st.integers(1, 3))
    def reserve(self, count: int) -> None:
        try:
            self.queue.reserve(count)
        except QueueClosed:
            assert self.closed
        except queue.Full:
            assert len(self.waiting) + self.reserved + count > 5
        else:
            assert len(self.waiting) + self.reserved + count <= 5
            self.reserved += count

    @precondition(lambda self: self.reserved)
    @rule(used=st.booleans())
    def settle(self, used: bool) -> None:
        self.reserved -= 1
        if not used:
            self.queue.release()
            return
        added = entry(f"e{self.number}")
        self.queue.put_reserved([added])
        self.waiting.append((1, self.number, 0.0, added))
        self.number += 1

    @rule()
    def get(self) -> None:
        due = [item for item in self.waiting if item[2] <= self.clock.now]
        try:
            got = self.queue.get(block=False)
        except QueueClosed:
            assert self.closed
            assert not self.waiting
            assert not self.held
            assert not self.reserved
            return
        except queue.Empty:
            assert not due
            return
        first = min(due, key=lambda item: (rank(item[3]), item[1]))
        priority, number, _, expected = first
        assert got is expected
        self.waiting.remove(first)
        self.held.append((priority, number, got))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 1.0, 10.0]))
    def give_back(self, data: st.DataObject, delay: float) -> None:
        item = data.draw(st.sampled_from(self.held))
        self.held.remove(item)
        priority, number, held = item
        self.queue.give_back(held, delay)
        self.waiting.append((priority, number, self.clock.now + delay, held))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.held))
        self.held.remove(item)
        self.queue.finish(item[2], "created")
        self.finished += 1

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        item = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(item)
        taken = self.queue.remove(item[3].key)
        assert taken is not None
        assert (taken.key, taken.order) == (item[3].key, item[3].order)
        self.held.append((*item[:2], taken))

    @rule(seconds=st.sampled_from([0.5, 10.0, 100.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def close(self) -> None:
        self.queue.close()
        self.closed = True

    @invariant()
    def everything_adds_up(self) -> None:
        now = self.queue.snapshot()
        late = sum(item[2] > self.clock.now for item in self.waiting)
        assert now.depth == len(self.waiting) == self.queue.qsize()
        assert now.delayed == late
        assert now.held == len(self.held)
        ages = [self.clock.now - item[3].queued_at for item in self.waiting]
        assert now.oldest_queued_seconds == max(ages, default=0.0)
        assert now.accepted == now.depth + now.held + now.outcomes.total()
        assert now.outcomes.total() == self.finished


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_the_bytes_that_wait_are_bounded_and_come_free_as_entries_leave() -> None:
    waiting: BuildQueue[int] = BuildQueue(10, max_bytes=100)
    waiting.reserve(1, 60)
    with pytest.raises(queue.Full):
        waiting.reserve(1, 60)
    waiting.put_reserved([Entry("1", 1, size=60)])
    with pytest.raises(queue.Full):
        waiting.reserve(1, 60)
    entry = waiting.get(timeout=0)
    waiting.reserve(1, 60)
    waiting.release(1, 60)
    waiting.give_back(entry)
    with pytest.raises(queue.Full):
        waiting.reserve(1, 60)
    removed = waiting.remove("1")
    assert removed is not None
    waiting.finish(removed, "cancelled")
    waiting.reserve(1, 100)


def test_an_entry_larger_than_all_room_is_taken_while_nothing_waits() -> None:
    waiting: BuildQueue[int] = BuildQueue(10, max_bytes=100)
    waiting.reserve(1, 500)
    waiting.put_reserved([Entry("1", 1, size=500)])
    with pytest.raises(queue.Full):
        waiting.put(Entry("2", 2, size=1), timeout=0)


def test_an_entry_that_is_taken_out_and_given_back_is_counted_once() -> None:
    waiting: BuildQueue[int] = BuildQueue(10, max_bytes=100)
    waiting.put(Entry("1", 1, size=60))
    waiting.give_back(waiting.get(timeout=0), delay=60)
    taken = waiting.remove("1")
    assert taken is not None
    waiting.give_back(taken)
    waiting.reserve(1, 40)
    with pytest.raises(queue.Full):
        waiting.reserve(1, 1)


@pytest.mark.parametrize("fair", [False, True])
def test_places_in_the_queue_say_in_which_order_entries_leave(fair: bool) -> None:
    rng = random.Random(7)
    for _ in range(50):
        clock = Clock()
        build_queue: BuildQueue[str] = BuildQueue(1000, fair=fair, clock=clock)
        for number in range(rng.randrange(1, 40)):
            clock.now += rng.random() * PRIORITY_SECONDS
            tenant = rng.choice("abc")
            build_queue.put(entry(f"{tenant}{number}", priority=rng.randrange(3), tenant=tenant))
            if rng.random() < 0.3:
                build_queue.finish(build_queue.get(), "created")
        places = build_queue.positions()
        assert drained(build_queue) == sorted(places, key=places.__getitem__)
        assert sorted(places.values()) == [*range(1, len(places) + 1)]


@pytest.mark.parametrize("fair", [False, True])
def test_a_delayed_entry_keeps_its_place_and_what_is_held_has_none(fair: bool) -> None:
    clock = Clock()
    build_queue: BuildQueue[str] = BuildQueue(10, fair=fair, clock=clock)
    for key in ("a1", "a2", "a3"):
        build_queue.put(entry(key, tenant="a"))
    first = build_queue.get()
    assert build_queue.positions() == {"a2": 1, "a3": 2}
    build_queue.give_back(first, delay=5)
    assert build_queue.positions() == {"a1": 1, "a2": 2, "a3": 3}
    build_queue.remove("a2")
    assert build_queue.positions() == {"a1": 1, "a3": 2}


def test_a_queue_is_finished_once_nothing_is_reserved_waits_or_is_held() -> None:
    build_queue = filled("a")
    assert not build_queue.wait_finished(0.0)
    held = build_queue.get(block=False)
    assert not build_queue.wait_finished(0.0)
    build_queue.finish(held, "created")
    assert build_queue.wait_finished(0.0)
    build_queue.reserve()
    assert not build_queue.wait_finished(0.0)
    build_queue.release()
    assert build_queue.wait_finished(0.0)


def test_the_next_delayed_entry_is_the_one_that_is_due_first() -> None:
    ordering: Ordering[str] = Ordering(fair=False)
    assert ordering.next_due() is None
    for key, ready_at in (("a", 30.0), ("b", 20.0)):
        delayed = entry(key)
        delayed.ready_at = ready_at
        ordering.add(delayed, 10.0)
    assert ordering.next_due() == 20.0
    ordering.pop(20.0)
    assert ordering.next_due() == 30.0
