"""MinuteCounts: what was counted in each of the last minutes.

Nothing is counted twice: totals that are kept anyway are noted every few seconds, and what lies
between two of them is the difference. So an event costs nothing here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

MINUTES = 15
_NOTE_SECONDS = 10
_MINUTE = 60


class Totals(NamedTuple):
    """What is counted, since the start of the process or in some time."""

    accepted: int = 0
    created: int = 0
    succeeded: int = 0
    failed: int = 0

    def since(self, earlier: Totals) -> Totals:
        """Return what was counted since then."""
        return Totals(*(now - then for now, then in zip(self, earlier, strict=True)))


class MinuteCounts:
    """Counts of the last minutes; thread-safe."""

    def __init__(
        self, read: Callable[[], Totals], *, clock: Callable[[], float] = time.time
    ) -> None:
        """``read`` returns the totals of now, ``clock`` the seconds since the epoch."""
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        slots = (MINUTES + 1) * _MINUTE // _NOTE_SECONDS
        self._noted: deque[tuple[int, Totals]] = deque([(0, Totals())], maxlen=slots + 1)
        """When, in whole notes since the epoch, and the totals by then."""

    def note(self) -> None:
        """Note the totals, unless that was just done; to be called every second."""
        slot = int(self._clock() // _NOTE_SECONDS)
        if slot != self._noted[-1][0]:
            totals = self._read()
            with self._lock:
                self._noted.append((slot, totals))

    def last_minute(self) -> Totals:
        """Return what was counted in the last 60 to 70 seconds."""
        slot = int(self._clock() // _NOTE_SECONDS)
        return self._read().since(self._by(slot - _MINUTE // _NOTE_SECONDS))

    def minutes(self) -> list[tuple[int, Totals]]:
        """Return each minute's beginning, in seconds since the epoch, and what was counted in it.

        The oldest first; the last is under way.
        """
        return [*self._minutes()]

    def _minutes(self) -> Iterator[tuple[int, Totals]]:
        now = self._read()
        present = int(self._clock() // _MINUTE)
        per_minute = _MINUTE // _NOTE_SECONDS
        for minute in range(present - MINUTES, present + 1):
            end = now if minute == present else self._by((minute + 1) * per_minute)
            yield minute * _MINUTE, end.since(self._by(minute * per_minute))

    def _by(self, slot: int) -> Totals:
        """Return the totals as they were when a time began."""
        with self._lock:
            known = [totals for at, totals in self._noted if at <= slot]
            return known[-1] if known else self._noted[0][1]
