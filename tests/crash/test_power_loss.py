"""The power goes at any instant: what was acknowledged is there, once, in order, in a whole file.

The seed chooses the load and the images. A failure names both; the images of one recording are
chosen again by the same seed, but threads never run the same way twice.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lambda_builder.journal import schema
from tests.crash.disk import Disk
from tests.crash.images import images
from tests.crash.opening import NAME, faults
from tests.crash.promises import Promises
from tests.crash.recording import Recording, Sync, Told, contents, record
from tests.crash.schema import NEXT_MIGRATION
from tests.programs import needs

LOAD = Path(__file__).with_name("load.py")
_MEMORY = Path("/dev/shm")

pytestmark = needs("strace")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory, where there is one: thousands of files are written and synced."""
    place = Path(tempfile.mkdtemp(dir=_MEMORY if _MEMORY.is_dir() else None))
    yield place
    shutil.rmtree(place)


@pytest.fixture(autouse=True)
def next_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """The images are opened by a version that is one migration ahead of their first writer."""
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, NEXT_MIGRATION))


def record_load(place: Path, seed: int, *flags: str, lives: int = 4, steps: int = 15) -> Recording:
    """Record processes that work on one journal, one after the other."""
    directory = place / "recorded"
    directory.mkdir()
    words = (str(directory / NAME), str(seed), str(lives), str(steps), *flags)
    return record([sys.executable, str(LOAD), *words], directory, place / "trace")


def losses(recording: Recording, place: Path, count: int, seed: int) -> tuple[int, list[str]]:
    """Open ``count`` images; returns how many there were, and what is wrong with which."""
    opened, wrong, followed = 0, [], 0
    promises = Promises()
    for image in images(recording, count, seed):
        for step in recording.steps[followed : image.steps]:
            if isinstance(step, Told):
                promises.follow(step.words)
        followed = image.steps
        opened += 1
        wrong += [f"{image}: {what}" for what in faults(image.files, promises, place / "image")]
    return opened, wrong


@pytest.mark.parametrize("seed", range(1, 5))
def test_what_was_acknowledged_outlasts_a_power_cut_at_any_instant(place, seed):
    opened, wrong = losses(record_load(place, seed), place, 280, seed)

    assert not wrong, f"seed {seed}: {wrong[:5]} and {len(wrong) - 5} more"
    assert opened >= 250


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(5, 15))
def test_no_instant_is_a_bad_one_to_cut_the_power(place, seed):
    opened, wrong = losses(record_load(place, seed, steps=60), place, 1100, seed)

    assert not wrong, f"seed {seed}: {wrong[:5]} and {len(wrong) - 5} more"
    assert opened >= 1000


def test_a_journal_that_did_not_sync_would_be_found_out(place):
    _, wrong = losses(record_load(place, 1, "lazy", lives=1), place, 100, 1)

    assert wrong


def test_the_recorder_misses_nothing_that_was_written(place):
    recording = record_load(place, 1)
    disk = Disk({}, random.Random(0))
    for step in recording.steps:
        disk.follow(step)

    assert disk.image(lambda _: True) == contents(place / "recorded")
    assert sum(isinstance(step, Sync) for step in recording.steps) > 50
    assert sum(isinstance(step, Told) for step in recording.steps) > 200
