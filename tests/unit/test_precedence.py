"""Whoever can wait takes turns while requests are being answered, and is never held up for good."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from lambda_builder import precedence
from lambda_builder.precedence import Precedence
from tests.waiting import wait_until

SECONDS = 20.0


class Turn:
    """A thread that takes a turn and keeps it until told."""

    def __init__(self, order: Precedence) -> None:
        self.entered, self.leave = threading.Event(), threading.Event()
        self._order = order
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with self._order.turn():
            self.entered.set()
            assert self.leave.wait(SECONDS)


@contextmanager
def turn(order: Precedence) -> Iterator[Turn]:
    it = Turn(order)
    try:
        yield it
    finally:
        it.leave.set()
        order.resting(waiting=False)
        it.thread.join(SECONDS)
        assert not it.thread.is_alive()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, no burst ends and nobody counts as stuck."""
    monkeypatch.setattr(precedence, "BURST_SECONDS", 3600.0)
    monkeypatch.setattr(precedence, "STUCK_SECONDS", 3600.0)


def test_where_nobody_answers_nobody_waits() -> None:
    order, together = Precedence(), threading.Barrier(8)

    def work() -> None:
        with order.turn():
            together.wait(SECONDS)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(8)]:
            done.result(SECONDS)


@pytest.mark.usefixtures("patient")
def test_what_can_wait_does_while_a_request_is_worked_on() -> None:
    order = Precedence()
    order.answering()
    with turn(order) as later:
        assert not later.entered.wait(0.05)
        order.answering()
        order.resting(waiting=False)
        assert later.entered.wait(SECONDS)


@pytest.mark.usefixtures("patient")
def test_while_answers_wait_for_the_journal_one_thread_works_at_a_time() -> None:
    order, inside, most, pause = Precedence(), list[int](), [0], threading.Event()
    order.answering()
    order.resting(waiting=True)

    def work(number: int) -> None:
        for _ in range(10):
            with order.turn():
                inside.append(number)
                pause.wait(0.001)  # others could come in meanwhile
                most[0] = max(most[0], len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, number) for number in range(8)]:
            done.result(SECONDS)
    assert most == [1]


@pytest.mark.usefixtures("patient")
def test_whoever_waits_for_something_else_lets_the_next_one_work() -> None:
    order, waiting, heard = Precedence(), threading.Event(), threading.Event()
    order.answering()
    order.resting(waiting=True)

    def call() -> None:
        # What is inside is part of what is around it.
        with order.turn(), order.turn(), order.apart(), order.apart():
            waiting.set()
            assert heard.wait(SECONDS)
            order.step_aside()

    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(call)
        assert waiting.wait(SECONDS)
        with turn(order) as other:
            assert other.entered.wait(SECONDS)
            heard.set()
            assert not called.done()
        called.result(SECONDS)


def test_requests_without_end_hold_up_nobody_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "BURST_SECONDS", 0.05)
    order = Precedence()
    order.answering()
    with turn(order) as later:
        assert later.entered.wait(SECONDS)


def test_a_turn_that_somebody_keeps_is_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precedence, "STUCK_SECONDS", 0.02)
    order = Precedence()
    order.answering()
    order.resting(waiting=True)
    with turn(order) as stuck:
        assert stuck.entered.wait(SECONDS)
        for _ in range(3):
            with turn(order) as later:
                assert later.entered.wait(SECONDS)
            order.answering()
            order.resting(waiting=True)


@pytest.mark.usefixtures("patient")
def test_a_turn_that_fails_is_over() -> None:
    order = Precedence()
    order.answering()
    order.resting(waiting=True)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), order.turn(), order.apart():
            raise ZeroDivisionError
    done = threading.Event()
    threading.Thread(target=lambda: [order.turn().__enter__(), done.set()], daemon=True).start()
    assert done.wait(SECONDS)


@pytest.mark.usefixtures("patient")
def test_who_has_no_turn_has_none_to_give() -> None:
    order = Precedence()
    order.answering()
    with order.apart():
        pass  # does not wait for a turn afterwards either


@pytest.mark.usefixtures("patient")
def test_a_thread_that_answers_takes_no_turns() -> None:
    order = Precedence()
    order.answering()
    with order.exempt(), order.turn():
        order.go_on()  # as after a call over a connection that told nobody that it waits
        with order.apart():
            pass
    with turn(order) as later:
        assert not later.entered.wait(0.05)


@pytest.mark.usefixtures("patient")
def test_whoever_waited_through_a_burst_has_its_turn_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precedence, "STUCK_SECONDS", 0.05)
    order = Precedence()
    order.answering()
    with turn(order) as first, turn(order) as second:
        assert not first.entered.wait(0.3)  # longer than somebody who is stuck is waited for
        order.resting(waiting=True)
        wait_until(lambda: first.entered.is_set() or second.entered.is_set(), "one of them")


@pytest.mark.usefixtures("patient")
def test_beside_answers_in_threads_one_works_at_a_time_and_none_is_put_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precedence, "BURST_SECONDS", 0.0)
    monkeypatch.setattr(precedence, "GAP_SECONDS", 3600.0)
    order, inside, most, pause = Precedence(), list[int](), list[int](), threading.Event()
    order.answering()
    order.resting(waiting=False, beside=True)

    def work() -> None:
        with order.turn():
            inside.append(1)
            most.append(len(inside))
            assert not pause.wait(0.001)
            inside.pop()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(80)]:
            done.result(SECONDS)
    assert max(most) == 1
