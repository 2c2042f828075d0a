"""The time by which messages are due: no step of the wall clock moves it."""

from __future__ import annotations

import time
from collections.abc import Callable

_LONGEST_DELAY_SECONDS = 60.0
"""No message that an earlier process put off waits longer than this after a start."""


class DueClock:
    """Runs with the monotonic clock; thread-safe.

    ``set_to`` begins at the wall clock, or later where the messages of an earlier process are due
    by a clock that was ahead of it.
    """

    def __init__(self, clock: Callable[[], float], timer: Callable[[], float] = time.monotonic):
        self._timer = timer
        self._clock = clock
        self._offset = clock() - timer()

    def __call__(self) -> float:
        """Return seconds since some moment."""
        return self._timer() + self._offset

    def set_to(self, latest_due: float) -> None:
        """Begin anew, given when the last message is due."""
        start = max(self._clock(), latest_due - _LONGEST_DELAY_SECONDS)
        self._offset = start - self._timer()

    def not_before(self, now: float) -> None:
        """Go on from ``now`` where that is later."""
        self._offset = max(self._offset, now - self._timer())
