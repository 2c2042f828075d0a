"""What comes through an API that refuses calls, because of their rate or for another reason.

Twenty workers call without end on a clock of their own; each call takes some 40 ms.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest

from lambda_builder.kube.pacing import Pacer

WORKERS, CALL_SECONDS = 20, 0.04
FREE = WORKERS / CALL_SECONDS
"""Calls a second that the workers can make."""


class Api:
    """Lets ``rate`` calls a second through, in bursts of at most ``burst``, and refuses a share."""

    def __init__(self, rate: float = 1e9, burst: float = 10.0, share: float = 0.0) -> None:
        self.rate, self.burst, self.share = rate, burst, share
        self._rng = random.Random(7)
        self._tokens, self._at = burst, 0.0

    def admits(self, now: float) -> bool:
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1.0 or self._rng.random() < self.share:
            return False
        self._tokens -= 1.0
        return True


class Workers:
    """Call as soon as they are let."""

    def __init__(self, admits: Callable[[float], bool]) -> None:
        self.pacer, self.now = Pacer(), 0.0
        self.admits = admits
        self._rng = random.Random(3)
        self._free = WORKERS
        self._calls: list[tuple[float, bool]] = []

    def work(self, seconds: float) -> tuple[int, int]:
        """Return how many calls came through, and how many were refused."""
        end, made = self.now + seconds, [0, 0]
        while self.now < end:
            wait = self.pacer.wait(self.now)
            if self._free and wait <= 0:
                self.pacer.take(self.now)
                self._free -= 1
                ends = self.now + CALL_SECONDS * self._rng.uniform(0.8, 1.2)
                heapq.heappush(self._calls, (ends, self.admits(self.now)))
            elif self._calls and (not self._free or self._calls[0][0] <= self.now + wait):
                self.now, admitted = heapq.heappop(self._calls)
                self._free += 1
                made[not admitted] += 1
                (self.pacer.succeeded if admitted else self.pacer.refused)(self.now)
            else:
                self.now += wait
        return made[0], made[1]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_refusals_at_random_do_not_lower_the_rate(share: float):
    made, refused = Workers(Api(share=share).admits).work(60)
    assert made / 60 >= 0.9 * FREE * (1 - share)
    assert refused / (made + refused) <= share + 0.02


@pytest.mark.parametrize("burst", [5, 50])
@pytest.mark.parametrize("limit", [20, 100, 300])
def test_the_rate_comes_near_a_limit_and_few_calls_are_refused(limit: int, burst: int):
    workers = Workers(Api(limit, burst).admits)
    workers.work(20)
    made, refused = workers.work(60)
    assert made / 60 >= 0.9 * limit
    assert refused / (made + refused) < 0.1


@pytest.mark.parametrize(("limit", "share"), [(1, 0.6), (2, 0.2), (5, 0.15)])
def test_a_limit_of_a_few_calls_a_second_is_not_run_into_again_and_again(limit: int, share: float):
    workers = Workers(Api(limit, 5).admits)
    workers.work(20)
    made, refused = workers.work(120)
    assert made / 120 >= 0.9 * limit
    assert refused / (made + refused) < share


def test_a_limit_is_found_soon_after_unlimited_calls():
    made, refused = Workers(Api(100, 50).admits).work(10)
    assert made / 10 >= 0.8 * 100
    assert refused / (made + refused) < 0.15


def test_a_limit_among_refusals_at_random_is_found_too():
    workers = Workers(Api(200, 20, share=0.05).admits)
    workers.work(20)
    made, refused = workers.work(60)
    assert made / 60 >= 0.85 * 200
    assert refused / (made + refused) < 0.15


def test_an_api_that_refuses_everything_is_hardly_called():
    workers = Workers(Api(share=1.0).admits)
    _, at_first = workers.work(2)
    assert at_first <= 250
    _, then = workers.work(60)
    assert then <= 61


def test_the_rate_comes_back_once_an_api_refuses_no_more():
    api = Api(share=1.0)
    workers = Workers(api.admits)
    workers.work(10)
    api.share = 0.0
    workers.work(30)
    made, _ = workers.work(10)
    assert made / 10 >= 0.9 * FREE


def test_a_limit_that_is_lowered_and_lifted_is_followed():
    api = Api(300)
    workers = Workers(api.admits)
    workers.work(20)
    api.rate = 60
    workers.work(10)
    made, refused = workers.work(20)
    assert made / 20 >= 0.9 * 60
    assert refused / (made + refused) < 0.1
    api.rate = 300
    workers.work(15)
    assert workers.work(20)[0] / 20 >= 0.8 * 300


def test_a_time_to_wait_is_for_all_calls_where_half_of_them_are_refused():
    workers = Workers(lambda now: True)
    workers.work(1)
    pacer, now = workers.pacer, workers.now
    for _ in range(24):
        pacer.refused(now, retry_after=2.0)
        assert pacer.wait(now) < 0.1
    pacer.refused(now, retry_after=2.0)
    assert pacer.wait(now) == 2.0


def test_the_first_answer_with_a_time_to_wait_holds_all_calls():
    pacer = Pacer()
    pacer.refused(0.0, retry_after=2.0)
    assert pacer.wait(0.0) == 2.0
    assert pacer.rate is None


def test_no_answer_holds_all_calls_for_more_than_a_minute_unless_refusals_go_on():
    pacer = Pacer()
    pacer.refused(0.0, retry_after=3600.0)
    assert pacer.wait(0.0) == 60.0
    assert pacer.wait(60.0) == 0.0
    pacer.take(60.0)
    pacer.refused(60.1, retry_after=3540.0)
    assert pacer.wait(60.1) == pytest.approx(60.0)


def test_what_was_refused_before_a_pause_says_nothing_of_the_rate() -> None:
    """The pause would count as time in which nothing more was admitted."""
    pacer, now = Pacer(), 0.0
    for pause, calls, share in ((600.0, 50, 17), (0.0, 200, 9)):
        for number in range(calls):
            now += max(0.02, pacer.wait(now))
            pacer.take(now)
            (pacer.succeeded if number % share else pacer.refused)(now)
        took, now = now, now + pause
    assert took < 615, "most of the calls waited"
