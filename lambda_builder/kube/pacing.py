"""How fast the API may be called: additive increase after an outage, halved when it is too much.

Pure; times are seconds on a monotonic clock that the caller reads. Not thread-safe.
"""

from __future__ import annotations

from collections import deque

FIRST_RATE = 10.0
"""Calls a second right after an outage."""
RATE_STEP = 10.0
"""Added to the rate in each step that saw a success."""
STEP_SECONDS = 0.5
"""The rate changes at most once in this time, up and down each."""
FREE_RATE = 500.0
"""Beyond this many calls a second nothing is held back any more."""
LEAST_RATE = 1.0
_MEASURED_SECONDS = 1.0


class Pacer:
    """Says when the next call may go out; unlimited until there is reason to hold back."""

    def __init__(self) -> None:
        self.rate: float | None = None
        """Calls a second; None is unlimited."""
        self._next = 0.0
        self._held_until = 0.0
        self._raised = self._lowered = float("-inf")
        self._done: deque[float] = deque(maxlen=int(FREE_RATE))

    def restart(self, now: float) -> None:
        """Begin slowly: the API was away and many wait for it."""
        self.rate, self._raised = FIRST_RATE, now
        self._next = max(now, self._held_until)

    def hold(self, now: float, seconds: float) -> None:
        """Let nothing out for ``seconds``, however short an earlier hold was."""
        self._held_until = max(self._held_until, now + seconds)
        self._next = max(self._next, self._held_until)

    def wait(self, now: float) -> float:
        """Return the seconds until a call may go out; 0 is now."""
        return max(0.0, self._next - now)

    def take(self, now: float) -> None:
        """Use the turn that ``wait`` said is there."""
        if self.rate is None:
            self._next = 0.0
        else:
            self._next = now + 1.0 / self.rate

    def succeeded(self, now: float) -> None:
        """A call was answered: a step up, if the last one is long enough ago."""
        self._done.append(now)
        if self.rate is None or now - max(self._raised, self._lowered) < STEP_SECONDS:
            return
        self._raised = now
        self.rate += RATE_STEP
        if self.rate > FREE_RATE:
            self.rate = None

    def overloaded(self, now: float) -> None:
        """The API said it is too much, or took too long: half of what was, if not halved just now.

        Half of the calls that were finished lately where the rate was unlimited.
        """
        if now - self._lowered < STEP_SECONDS:
            return
        self._lowered = now
        rate = self._measured(now) if self.rate is None else self.rate
        self.rate = max(LEAST_RATE, rate / 2)
        self._next = max(self._next, now + 1.0 / self.rate)

    def _measured(self, now: float) -> float:
        recent = sum(1 for moment in self._done if now - moment <= _MEASURED_SECONDS)
        return recent / _MEASURED_SECONDS
