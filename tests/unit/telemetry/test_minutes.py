"""Counts of the last minutes, by totals that are kept anyway."""

from __future__ import annotations

from lambda_builder.telemetry.minutes import MINUTES, MinuteCounts, Totals


class World:
    """A clock and totals that a test turns."""

    def __init__(self):
        self.now, self.totals, self.reads = 6_000.0, Totals(), 0
        self.counts = MinuteCounts(self.read, clock=lambda: self.now)

    def read(self):
        self.reads += 1
        return self.totals

    def live(self, seconds, accepted_each=0):
        for _ in range(seconds):
            self.counts.note()
            self.now += 1
            self.totals = self.totals._replace(accepted=self.totals.accepted + accepted_each)


def test_each_minute_has_what_was_counted_in_it():
    world = World()
    world.live(60, accepted_each=2)
    world.live(60)
    world.live(30, accepted_each=1)
    minutes = world.counts.minutes()
    assert len(minutes) == MINUTES + 1
    assert [(begin, totals.accepted) for begin, totals in minutes[-4:]] == [
        (5_940, 0),
        (6_000, 120),
        (6_060, 0),
        (6_120, 30),
    ]
    assert sum(totals.accepted for _, totals in minutes) == world.totals.accepted


def test_the_last_minute_is_of_the_last_seconds_and_old_ones_are_forgotten():
    world = World()
    world.live(600, accepted_each=3)
    assert 180 <= world.counts.last_minute().accepted <= 210
    world.live(100)
    assert world.counts.last_minute() == Totals()
    world.live(60 * (MINUTES + 2))
    assert all(totals == Totals() for _, totals in world.counts.minutes())
    assert len(world.counts._noted) <= 6 * (MINUTES + 1) + 1


def test_noting_reads_the_totals_every_ten_seconds_only():
    world = World()
    world.live(100)
    assert world.reads == 10
