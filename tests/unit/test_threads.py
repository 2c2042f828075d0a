"""How long is waited between tries."""

from __future__ import annotations

import random

import pytest

from lambda_builder.threads import Backoff


def test_pauses_double_up_to_the_cap_and_leave_their_share_to_chance() -> None:
    backoff = Backoff(0.5, 4.0, jitter=0.25, rng=random.Random(1))
    for failures, bound in enumerate([0.5, 1.0, 2.0, 4.0, 4.0, 4.0]):
        pauses = [backoff.pause(failures) for _ in range(500)]
        assert bound * 0.75 <= min(pauses) < bound * 0.77
        assert bound * 0.98 < max(pauses) <= bound


@pytest.mark.parametrize("failures", [1024, 100_000])
def test_a_receiver_that_is_away_for_half_a_day_costs_the_longest_pause(failures: int) -> None:
    assert 30.0 <= Backoff(1.0, 60.0).pause(failures) <= 60.0


def test_many_that_failed_together_do_not_come_back_together() -> None:
    assert len({Backoff(1.0, 60.0).pause(3) for _ in range(50)}) == 50
