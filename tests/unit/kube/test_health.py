"""How fast the API is called after an outage, and how often it is probed meanwhile."""

from __future__ import annotations

import random
from itertools import pairwise

from lambda_builder.kube.health import probe_gaps
from lambda_builder.kube.pacing import FREE_RATE, Pacer


def calls_in(pacer: Pacer, begin: float, seconds: float) -> int:
    """Make calls as fast as they are let through, each answered at once; return how many."""
    now, calls = begin, 0
    while now < begin + seconds and calls < 10_000:
        wait = pacer.wait(now)
        if wait > 0:
            now += wait
            continue
        pacer.take(now)
        pacer.succeeded(now)
        calls += 1
        now += 0.0001
    return calls


def test_nothing_is_held_back_without_a_reason():
    pacer = Pacer()
    assert pacer.rate is None
    assert calls_in(pacer, 0.0, 0.1) >= 999


def test_after_an_outage_calls_begin_slowly_and_grow_step_by_step():
    pacer = Pacer()
    pacer.restart(100.0)
    per_second = [calls_in(pacer, 100.0 + second, 1.0) for second in range(10)]
    assert per_second[0] <= 20
    assert per_second == sorted(per_second)
    assert all(later - earlier <= 25 for earlier, later in pairwise(per_second))
    assert per_second[9] >= 150


def test_the_rate_becomes_free_in_the_end():
    pacer = Pacer()
    pacer.restart(0.0)
    now = 0.0
    while pacer.rate is not None:
        now += 0.5
        pacer.succeeded(now)
    assert FREE_RATE / 10 * 0.5 - 1 <= now <= FREE_RATE / 10 * 0.5 + 1


def test_the_rate_does_not_grow_while_nothing_succeeds():
    pacer = Pacer()
    pacer.restart(0.0)
    pacer.take(1000.0)
    assert pacer.rate == 10


def test_overload_halves_the_rate_but_once_in_half_a_second():
    pacer = Pacer()
    pacer.restart(0.0)
    for step in range(1, 8):
        pacer.succeeded(step * 0.5)
    assert pacer.rate == 80
    for moment in (10.0, 10.1, 10.2, 10.4):
        pacer.overloaded(moment)
    assert pacer.rate == 40
    pacer.overloaded(10.6)
    assert pacer.rate == 20


def test_overload_out_of_free_running_begins_at_half_of_what_was_called():
    pacer = Pacer()
    for number in range(200):
        pacer.succeeded(5.0 + number / 200)
    pacer.overloaded(6.0)
    assert pacer.rate is not None
    assert 95 <= pacer.rate <= 105


def test_the_rate_never_stops_altogether():
    pacer = Pacer()
    for moment in range(20):
        pacer.overloaded(float(moment))
    assert pacer.rate == 1


def test_a_hold_lets_nothing_out_and_a_shorter_one_does_not_cut_it():
    pacer = Pacer()
    pacer.hold(0.0, 30.0)
    pacer.hold(1.0, 2.0)
    assert pacer.wait(1.0) == 29.0
    pacer.restart(2.0)
    assert pacer.wait(2.0) == 28.0
    assert pacer.wait(30.0) == 0.0


def test_probes_are_a_handful_a_minute_and_never_far_apart():
    pauses = probe_gaps(random.Random(4))
    for _ in range(200):
        now, probes, gaps = 0.0, 0, []
        while True:
            gap = pauses.pause(probes)
            now += gap
            if now > 60.0:
                break
            gaps.append(gap)
            probes += 1
        assert 10 <= probes <= 25
        assert max(gaps) <= 4.5
        assert max(gaps[:1]) <= 0.75
        assert min(gaps[3:]) >= 2.0
