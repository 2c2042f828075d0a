"""When a destination counts as away, and how often it is tried then."""

from __future__ import annotations

import math

import pytest

from lambda_builder.outgoing.breaker import AWAY_AFTER, LONGEST_PAUSE_SECONDS, Breaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def away(clock: Clock) -> Breaker:
    breaker = Breaker(clock=clock)
    begun = [breaker.failed(f"id-{number}", tried=False) for number in range(AWAY_AFTER)]
    assert begun == [False] * (AWAY_AFTER - 1) + [True]
    return breaker


def try_one(breaker: Breaker, clock: Clock) -> float:
    clock.now += breaker.wait()
    breaker.try_one()
    breaker.failed("id", tried=True)
    return breaker.wait()


def test_one_message_that_is_refused_again_and_again_does_not_hold_up_the_others(
    clock: Clock,
) -> None:
    breaker = Breaker(clock=clock)
    assert not any(breaker.failed("the same", tried=False) for _ in range(100))
    assert breaker.wait() == 0.0


def test_failures_with_a_success_between_them_are_no_absence(clock: Clock) -> None:
    breaker = Breaker(clock=clock)
    for number in range(100):
        assert not breaker.failed(f"id-{number}", tried=False)
        assert not breaker.taken()
    assert breaker.wait() == 0.0


def test_an_absent_destination_is_tried_with_one_message_at_a_time(
    away: Breaker, clock: Clock
) -> None:
    assert 0.4 < away.wait() <= 1.0
    clock.now += away.wait()
    assert away.wait() == 0.0
    away.try_one()
    assert away.wait() == math.inf
    assert not away.failed("late", tried=False)  # it was on its way before
    assert away.wait() == math.inf
    away.failed("id", tried=True)
    assert 0.9 < away.wait() <= 2.0


def test_tries_of_an_absent_destination_grow_rare_but_not_endlessly(
    away: Breaker, clock: Clock
) -> None:
    pauses = [try_one(away, clock) for _ in range(2000)]
    assert max(pauses) <= LONGEST_PAUSE_SECONDS
    assert min(pauses[5:]) >= LONGEST_PAUSE_SECONDS / 2


def test_the_first_success_ends_the_absence_at_once(away: Breaker, clock: Clock) -> None:
    for _ in range(10):
        try_one(away, clock)
    assert away.taken()
    assert away.wait() == 0.0
    assert not away.failed("id", tried=False)
    assert away.wait() == 0.0


def test_a_message_that_may_not_be_sent_gives_its_turn_to_another(
    away: Breaker, clock: Clock
) -> None:
    clock.now += away.wait()
    away.try_one()
    away.not_sent()
    assert away.wait() == 0.0
