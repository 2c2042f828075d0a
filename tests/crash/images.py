"""Which of the many states that a power cut may leave are looked at: chosen by a seed."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tests.crash.disk import Disk, Files
from tests.crash.recording import Create, Recording, Rename, Sync, Told, Unlink


@dataclass(frozen=True, slots=True)
class Image:
    """What is on the disk when the power goes after so many steps; ``str`` names it for good."""

    steps: int
    kind: str
    number: int
    """Which change is missing, or the seed of what is."""
    files: Files

    def __str__(self) -> str:
        return f"after step {self.steps}: {self.kind} {self.number}"


def images(recording: Recording, count: int, seed: int) -> Iterator[Image]:
    """Yield some ``count`` images in the order of the recording.

    A quarter each are: what was synced; all that was written; all but one change; any part of it.
    Where a file or directory entry is new, renamed or gone, all but that comes on top.
    """
    lots = random.Random(seed)
    chosen = _choose(recording, count, lots)
    disk = Disk(recording.before, random.Random(seed))
    for steps, step in enumerate(recording.steps, start=1):
        disk.follow(step)
        for kind, number in chosen.get(steps, ()):
            yield Image(steps, kind, number, _files(disk, kind, number))


def _files(disk: Disk, kind: str, number: int) -> Files:
    if kind == "only what was synced":
        return disk.image(lambda _: False)
    if kind == "all that was written":
        return disk.image(lambda _: True)
    if kind == "all but change":
        return disk.image(lambda place: place != number)
    lots = random.Random(number)
    share = lots.choice((0.1, 0.5, 0.9, 0.98))
    return disk.image(lambda _: lots.random() < share, torn=lots)


def _choose(
    recording: Recording, count: int, lots: random.Random
) -> dict[int, list[tuple[str, int]]]:
    """Return kinds and numbers of images, by how many steps were taken."""
    synced: list[tuple[int, str, int]] = []
    written: list[tuple[int, str, int]] = []
    holes: list[tuple[int, str, int]] = []
    entries: list[tuple[int, str, int]] = []
    disk = Disk(recording.before, random.Random(0))
    for steps, step in enumerate(recording.steps):
        if not isinstance(step, Told):
            written.append((steps, "all that was written", 0))
        if isinstance(step, Sync):
            # Until here this was all that was sure, and never was more acknowledged.
            synced.append((steps, "only what was synced", 0))
            for place, change in enumerate(disk.pending):
                spot = (steps, "all but change", place)
                (entries if isinstance(change, Create | Rename | Unlink) else holes).append(spot)
        disk.follow(step)
    entries.append((len(recording.steps), "all that was written", 0))
    share = count // 4
    cuts = [spot[0] for spot in written]
    parts = [(lots.choice(cuts), "part", lots.getrandbits(32)) for _ in range(share if cuts else 0)]
    chosen: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for spots in (synced, written, holes):
        for steps, kind, number in lots.sample(spots, min(share, len(spots))):
            chosen[steps].append((kind, number))
    for steps, kind, number in (*parts, *entries):
        chosen[steps].append((kind, number))
    return chosen
