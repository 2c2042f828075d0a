"""The clock by which messages are due starts at the wall clock and then goes its own way."""

from __future__ import annotations

from lambda_builder.journal.due_clock import DueClock


def test_it_starts_at_the_wall_clock_and_runs_with_the_timer() -> None:
    now = {"wall": 1000.0, "timer": 7.0}
    clock = DueClock(lambda: now["wall"], lambda: now["timer"])

    assert clock() == 1000.0
    now.update(wall=5.0, timer=9.5)
    assert clock() == 1002.5


def test_set_anew_it_is_at_most_a_minute_behind_what_is_due_last() -> None:
    now = {"wall": 1000.0, "timer": 7.0}
    clock = DueClock(lambda: now["wall"], lambda: now["timer"])

    clock.set_to(1059.0)
    assert clock() == 1000.0
    clock.set_to(1100.0)
    assert clock() == 1040.0
