"""Breaker: is a destination there, and if not, when is the next message sent to find out?

Not for several threads at once: the caller holds a lock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from lambda_builder.threads import Backoff

AWAY_AFTER = 3
"""Different messages that fail in a row; one that is refused again and again says nothing."""
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0
"""A try costs one message, and everything waits for the one that finds the destination back."""


class Breaker:
    """Open while the destination is away: then one message at a time, with growing pauses."""

    def __init__(
        self, pauses: Backoff | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``pauses`` are those between tries while it is away; ``clock`` is in seconds."""
        self._pauses = pauses or Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self._clock = clock
        self.away = False
        self._failing: set[str] = set()
        """Messages that failed since one was taken; no more than make it away."""
        self._tries = 0
        self._next_at = 0.0
        self._trying = False

    def wait(self) -> float:
        """Return the seconds until a message may be sent; endless while one finds out."""
        if not self.away:
            return 0.0
        return math.inf if self._trying else max(0.0, self._next_at - self._clock())

    def try_one(self) -> None:
        """Note that the message which finds out is on its way."""
        self._trying = True

    def taken(self) -> bool:
        """Note a success; returns whether that ends an absence."""
        came_back, self.away = self.away, False
        self._failing.clear()
        self._tries, self._trying = 0, False
        return came_back

    def not_sent(self) -> None:
        """The message that was to find out may not be sent now: another one may."""
        self._trying = False

    def failed(self, message_id: str, *, tried: bool) -> bool:
        """Note a failure; ``tried`` as in ``try_one``. Returns whether an absence begins."""
        if self.away:
            if tried:
                self._put_off()
            return False
        self._failing.add(message_id)
        if len(self._failing) < AWAY_AFTER:
            return False
        self.away = True
        self._failing.clear()
        self._put_off()
        return True

    def _put_off(self) -> None:
        self._next_at = self._clock() + self._pauses.pause(self._tries)
        self._tries += 1
        self._trying = False
