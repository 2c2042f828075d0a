"""How fast the API may be called: no faster than it admits, and slowly after an outage.

Pure; times are seconds on a monotonic clock that the caller reads. Not thread-safe.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import dropwhile

FIRST_RATE = 10.0
"""Calls a second right after an outage."""
RATE_STEP = 10.0
"""Added to the rate in each step that saw a success."""
STEP_SECONDS = 0.5
"""The rate is lowered and raised by a step at most once in this time; what is answered so soon
after it was lowered had been called before."""
FREE_RATE = 500.0
"""Beyond this many calls a second nothing is held back any more."""
LEAST_RATE = 1.0
WINDOW = 100
"""Answers of which the share that was refused is taken."""
_FEWEST, _LONG_SECONDS = 10, 5.0
"""So few do where they took so long."""
_BY_CHANCE = 2
"""Refused calls that say nothing, however few there were."""
_LONGEST_HOLD_SECONDS = 60.0
"""As long as all calls may be held by one answer; where the next one is refused, too, again."""
_PAUSE_SECONDS = 5.0
"""Between two answers: then the share is taken anew."""
TOLERATED = 0.08
"""Share of refused calls that is no reason to make fewer: one in a while says nothing of a rate."""
_MOST_TOLERATED = 0.5
_NEARLY_ALL = 0.8
_STEEPEST = 1 / 8
_MARGIN = 0.15
"""How much larger a share that fewer calls did not lessen may become, by chance."""
_TOLERATED_ANSWERS, _TOLERATED_SECONDS = 20 * WINDOW, 30.0
"""How long such a share is tolerated; then fewer calls are tried again."""
_OF_ADMITTED = 0.9
_GROWTH = 1.005
"""Of the rate in a tenth of a window, the first time round; its exponent doubles with each."""
_MOST_DOUBLINGS = 3
_LEAST_STEP, _LEAST_STEP_SECONDS = 0.5, 10.0
_SLOW_GROWTH, _SLOW_SECONDS = 0.02, 4.0
_MEASURED_SECONDS = 1.0


@dataclass(slots=True)
class _Window:
    """The last answers: when, and whether the call was refused."""

    answers: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    refused: int = 0

    def add(self, now: float, refused: bool) -> None:
        if self.answers and now - self.answers[-1][0] > _PAUSE_SECONDS:
            # What was before a pause says nothing of the rate, or of the API as it is now.
            self.answers.clear()
            self.refused = 0
        if len(self.answers) == WINDOW:
            self.refused -= self.answers[0][1]
        self.answers.append((now, refused))
        self.refused += refused

    @property
    def share(self) -> float:
        return self.refused / len(self.answers)

    def since_first_refusal(self) -> tuple[float, float]:
        """Return the answers a second, and the share refused: that may have begun just then."""
        answers = list(dropwhile(lambda answer: not answer[1], self.answers))
        seconds = answers[-1][0] - answers[0][0]
        count = len(answers) - 1
        rate = count / seconds if seconds > 0 else float("inf")
        return rate, (self.refused - 1) / max(1, count)

    @property
    def rate(self) -> float:
        """Answers a second."""
        seconds = self.answers[-1][0] - self.answers[0][0]
        return len(self.answers) / seconds if seconds > 0 else float("inf")

    @property
    def is_full(self) -> bool:
        """Whether it tells enough: of few calls a second, fewer do."""
        count = len(self.answers)
        seconds = self.answers[-1][0] - self.answers[0][0] if count else 0.0
        return count == WINDOW or (count >= _FEWEST and seconds >= _LONG_SECONDS)

    def is_over(self, share: float) -> bool:
        """Whether more than that share of a full window was refused, however full this one is."""
        enough = len(self.answers) if self.is_full else WINDOW
        return self.refused > max(_BY_CHANCE, share * enough)


@dataclass(frozen=True, slots=True)
class _Trial:
    """Fewer calls, to see whether a smaller share of them is refused; and what was before."""

    paced: float | None
    rate: float
    share: float

    def failed(self, since: _Window) -> bool:
        """Whether much fewer calls are refused in much the same share."""
        fewer = since.rate <= 0.95 * self.rate
        return fewer and self.share / 3 <= since.share <= 1.5 * self.share


class Pacer:
    """Says when the next call may go out; unlimited until there is reason to hold back.

    A limit refuses what is beyond it. So the rate becomes nearly what was admitted, and grows
    again, slowly at first. Where fewer calls are refused in the same share, their number is not
    the reason: the rate is again what it was, and that share is tolerated for a while.
    """

    def __init__(self) -> None:
        self.rate: float | None = None
        """Calls a second; None is unlimited."""
        self._next = 0.0
        self._held_until = 0.0
        self._raised = self._lowered = float("-inf")
        self._done: deque[float] = deque(maxlen=int(FREE_RATE))
        self._recent: deque[bool] = deque(maxlen=WINDOW // 2)
        self._window = _Window()
        self._trial: _Trial | None = None
        self._answers = 0
        """Since the rate was lowered to what was admitted, or a share began to be tolerated."""
        self._near_a_limit = False
        """Whether the rate grows with the answers, not in steps."""
        self._tolerated, self._tolerated_until = TOLERATED, 0.0

    def restart(self, now: float) -> None:
        """Begin slowly: the API was away and many wait for it."""
        self._set(FIRST_RATE)
        self._raised = now
        self._next = max(now, self._held_until)

    def hold(self, now: float, seconds: float) -> None:
        """Let nothing out for ``seconds``, a minute at most, however short an earlier hold was."""
        self._held_until = max(self._held_until, now + min(seconds, _LONGEST_HOLD_SECONDS))
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
        """A call was answered: the rate may grow."""
        self._done.append(now)
        self._recent.append(False)
        self._answered(now, refused=False)
        if self.rate is None or self._near_a_limit:
            return
        if now - max(self._raised, self._lowered) >= STEP_SECONDS:
            self._raised = now
            self._raise_to(self.rate + RATE_STEP)

    def refused(self, now: float, retry_after: float = 0.0) -> None:
        """The API said that a call is one too many: fewer, if it says so of too large a share.

        No call at all for ``retry_after`` seconds where it says so of half of them: otherwise
        that is for who made the refused one, as in the clients of Kubernetes.
        """
        self._recent.append(True)
        if 2 * sum(self._recent) >= len(self._recent):
            self.hold(now, retry_after)
        if self.rate is not None and not self._near_a_limit:
            self._answers, self._near_a_limit = 0, True
        self._answered(now, refused=True)

    def overloaded(self, now: float) -> None:
        """A call took too long: half of what was, if not lowered just now.

        Half of the calls that were finished lately where the rate was unlimited.
        """
        if now - self._lowered < STEP_SECONDS:
            return
        self._lower(now, (self._measured(now) if self.rate is None else self.rate) / 2)

    def _answered(self, now: float, *, refused: bool) -> None:
        if now - self._lowered < STEP_SECONDS:
            return
        window, trial = self._window, self._trial
        window.add(now, refused)
        self._answers += 1
        if now >= self._tolerated_until and self._answers > _TOLERATED_ANSWERS:
            self._tolerated = TOLERATED
        if trial and window.is_full:
            self._trial = None
            if trial.failed(window):
                self._tolerate(now, trial, min(_MOST_TOLERATED, window.share + _MARGIN))
                return
        if window.is_over(self._tolerated):
            self._lower_to_what_is_admitted(now)
        elif not refused and self._near_a_limit and self.rate:
            self._grow(now, self.rate)

    def _grow(self, now: float, rate: float) -> None:
        if self._answers % (WINDOW // 10) and now - self._raised < STEP_SECONDS:
            return
        self._raised = now
        doublings = min(self._answers // WINDOW, _MOST_DOUBLINGS)
        since = now - self._lowered
        least = _LEAST_STEP * (1 + since / _LEAST_STEP_SECONDS)
        # As much would be several times a low rate.
        share = _SLOW_GROWTH * (1 + (since / _SLOW_SECONDS) ** 2)
        self._raise_to(max(rate * _GROWTH**2**doublings, rate + min(least, rate * share)))

    def _lower_to_what_is_admitted(self, now: float) -> None:
        answered, share = self._window.since_first_refusal()
        if share < _NEARLY_ALL and not self._window.is_full:
            return
        rate = min(self.rate or FREE_RATE, answered)
        if share > _MOST_TOLERATED:  # hard to tell how much is admitted, if anything
            self._lower(now, rate * max(1 - share, _STEEPEST))
            self._near_a_limit = share < 1  # else it is none, or one that nothing is known of
            return
        trial = _Trial(self.rate, answered, share)
        self._lower(now, rate * (1 - share) * _OF_ADMITTED)
        self._trial, self._near_a_limit = trial, True

    def _tolerate(self, now: float, trial: _Trial, share: float) -> None:
        self._set(trial.paced)
        self._tolerated, self._tolerated_until = share, now + _TOLERATED_SECONDS

    def _raise_to(self, rate: float) -> None:
        self.rate = rate if rate <= FREE_RATE else None

    def _lower(self, now: float, rate: float) -> None:
        rate = max(LEAST_RATE, rate)
        self._set(rate)
        self._lowered = now
        self._next = max(self._next, now + 1.0 / rate)

    def _set(self, rate: float | None) -> None:
        """Begin anew at that rate."""
        self.rate = rate
        self._window, self._trial = _Window(), None
        self._answers, self._near_a_limit = 0, False
        self._tolerated = TOLERATED

    def _measured(self, now: float) -> float:
        recent = sum(1 for moment in self._done if now - moment <= _MEASURED_SECONDS)
        return recent / _MEASURED_SECONDS
