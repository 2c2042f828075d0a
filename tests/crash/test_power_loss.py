"""The power goes at any instant: what was acknowledged is there, once, in order, the file whole."""

from __future__ import annotations

import random

import pytest

from tests.crash.answers import Answers
from tests.crash.disk import Disk
from tests.crash.loads import assert_nothing_lost, losses, record_load
from tests.crash.recording import Recording, Rename, Step, Sync, Told, contents
from tests.crash.service_load import record_service
from tests.programs import needs

pytestmark = needs("strace")


@pytest.mark.parametrize("seed", range(1, 3))
def test_what_was_acknowledged_outlasts_a_power_cut_at_any_instant(place, seed):
    opened = assert_nothing_lost(record_load(place, seed), place, 280, seed)

    assert opened >= 250


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5, 15))
def test_no_instant_is_a_bad_one_to_cut_the_power(place, seed):
    opened = assert_nothing_lost(record_load(place, seed, steps=60), place, 1100, seed)

    assert opened >= 1000


# Some of what is asked is refused: when a sync fails now and then, or the disk is full for a while.
FAULTS = ("fdatasync,fsync:error=EIO:when=20+37", "pwrite64:error=ENOSPC:when=400..415")


@pytest.mark.parametrize(
    ("kills", "count", "strace"),
    [
        (1, 150, ()),
        *(
            pytest.param(2, 600, strace, marks=(pytest.mark.soak, pytest.mark.timeout(600)))
            for strace in [(), *((f"--inject={fault}",) for fault in FAULTS)]
        ),
    ],
)
def test_what_the_service_answered_outlasts_a_power_cut_at_any_instant(place, kills, count, strace):
    recording = record_service(place, 1, kills=kills, strace=strace)
    opened = assert_nothing_lost(recording, place, count, 1, Answers())

    assert opened >= 0.9 * count
    assert bool(recording.injected) == bool(strace)
    without_syncs: list[Step] = [step for step in recording.steps if not isinstance(step, Sync)]
    _, wrong = losses(Recording({}, without_syncs), place, 20, 1, Answers())
    assert wrong, "a loss would not be seen"


def test_a_rebuild_that_the_power_cuts_loses_nothing_that_can_be_read(place):
    recording = record_load(place, 1, "damaged", lives=2, steps=8)

    assert any(isinstance(step, Rename) for step in recording.steps)
    assert_nothing_lost(recording, place, 120, seed=1, damaged=True)


def test_a_journal_that_did_not_sync_would_be_found_out(place):
    _, wrong = losses(record_load(place, 1, "lazy", lives=1), place, 100, 1)

    assert wrong


def test_the_recorder_misses_nothing_that_was_written(place):
    recording = record_load(place, 1)
    disk = Disk({}, random.Random(0))
    for step in recording.steps:
        disk.follow(step)

    (directory,) = (path for path in place.iterdir() if path.is_dir())
    assert disk.image(lambda _: True) == contents(directory)
    assert sum(isinstance(step, Sync) for step in recording.steps) > 50
    assert sum(isinstance(step, Told) for step in recording.steps) > 200
