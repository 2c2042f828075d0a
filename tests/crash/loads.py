"""Records the load, and looks through images of what it left on the disk."""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from pathlib import Path

import pytest

from tests.crash.images import images
from tests.crash.opening import NAME, Judge, faults
from tests.crash.promises import Promises
from tests.crash.recording import Recording, Told, record

_LOAD = Path(__file__).with_name("load.py")
_REPLAYED = os.environ.get("CRASH_RECORDING")
"""A file that a failed test has kept: threads never run the same way twice."""

_NEW = (".rebuilding", ".rebuilding-journal", ".rebuilding-wal", ".rebuilt")
_PARTS = ("", "-journal", "-wal", "-shm", ".lock", *_NEW)
"""The files that the journal writes, by what their names have behind its own."""


def record_load(
    place: Path,
    seed: int,
    *flags: str,
    lives: int = 4,
    steps: int = 15,
    strace: tuple[str, ...] = (),
) -> Recording:
    """Record processes that work on one journal, one after the other.

    Of the other files that Python opens nothing is recorded, nor made to fail by ``strace``.
    """
    if (kept := replayed()) is not None:
        return kept
    directory = Path(tempfile.mkdtemp(dir=place))
    words = (str(directory / NAME), str(seed), str(lives), str(steps), *flags)
    command = [sys.executable, str(_LOAD), *words]
    return record(command, directory, place / "trace", *only_these(directory), *strace)


def replayed() -> Recording | None:
    """Return the recording to look at again, if there is one."""
    if not _REPLAYED:
        return None
    kept: Recording = pickle.loads(Path(_REPLAYED).read_bytes())  # noqa: S301 - our own
    return kept


def only_these(directory: Path) -> list[str]:
    """Return options for strace, to look at no other files than those of a journal."""
    paths = (directory, *(directory / f"{NAME}{part}" for part in _PARTS), Path(os.devnull))
    return [f"--trace-path={path}" for path in paths]


def losses(
    recording: Recording,
    place: Path,
    count: int,
    seed: int,
    judge: Judge | None = None,
    *,
    damaged: bool = False,
) -> tuple[int, list[str]]:
    """Open some ``count`` images; returns how many there were, and what is wrong with which."""
    opened, wrong, followed = 0, [], 0
    judge = judge or Promises()
    for image in images(recording, count, seed):
        for step in recording.steps[followed : image.steps]:
            if isinstance(step, Told):
                judge.follow(step.words)
        followed = image.steps
        opened += 1
        found = faults(image.files, judge, place / "image", damaged=damaged)
        wrong += [f"{image}: {what}" for what in found]
    return opened, wrong


def assert_nothing_lost(
    recording: Recording,
    place: Path,
    count: int,
    seed: int,
    judge: Judge | None = None,
    *,
    damaged: bool = False,
) -> int:
    """Fail where an image is not as it must be; returns how many there were."""
    opened, wrong = losses(recording, place, count, seed, judge, damaged=damaged)
    print(f"seed {seed}: {opened} images, {len(wrong)} faults")  # noqa: T201 - pytest -rP shows it
    if wrong:
        kept = Path(tempfile.gettempdir(), f"crash-recording-{seed}")
        kept.write_bytes(pickle.dumps(recording))
        shown = "\n".join(wrong[:5])
        pytest.fail(
            f"seed {seed}: {len(wrong)} faults in {opened} images; the same ones again with "
            f"CRASH_RECORDING={kept}\n{shown}"
        )
    return opened
