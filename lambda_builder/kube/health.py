"""Is the API there, and how fast may it be called?

No library's breaker fits: pybreaker's raises where workers must wait, times by the wall clock
without jitter and tries a real call where a probe is due; of it only a flag would be left.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable

import structlog

from lambda_builder.kube.pacing import Pacer
from lambda_builder.threads import Background, Backoff

_FIRST_GAP_SECONDS = 0.75
"""Most outages are blips."""
_LONGEST_GAP_SECONDS = 4.5
_GAP_JITTER = 5 / 9
"""So that later gaps are 2 s at least, probes some 18 a minute, and the API's return is seen in
5 s. Gaps run from start to start, for a probe may hang."""
_LOOK_SECONDS = 0.25
"""How often a waiting worker looks at the event that ends it."""
_STOP_SECONDS = 5.0


def probe_gaps(rng: random.Random | None = None) -> Backoff:
    """Return the seconds from one probe's start to the next one's."""
    return Backoff(_FIRST_GAP_SECONDS, _LONGEST_GAP_SECONDS, jitter=_GAP_JITTER, rng=rng)


class ApiHealth:
    """A breaker that holds workers while the API is away, and lets them go slowly afterwards.

    Thread-safe. ``probe`` asks the API whether it is there, within a few seconds; never two at a
    time. While it is away a thread asks again and again, until it answers or ``stop``.
    """

    def __init__(
        self,
        probe: Callable[[], bool],
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = probe
        self._gaps = probe_gaps(rng)
        self._clock = clock
        self._pacer = Pacer()
        self._changed = threading.Condition()
        self._turnstile = threading.Lock()
        self._available = True
        self._away_since: float | None = None
        self._probing = False
        self._begun = self._answered = 0
        """Numbers of the last probe that began, and of the last that found the API."""
        self._prober = Background("kube-probe", self._watch, wake=self._wake)
        self._stopping = self._prober.stopping

    @property
    def available(self) -> bool:
        """Whether the API was there when last heard of."""
        return self._available

    @property
    def away_since(self) -> float | None:
        """When the API went away, in seconds since the epoch; None while it is there."""
        return self._away_since

    @property
    def rate(self) -> float | None:
        """Calls a second that are let through; None is unlimited."""
        return self._pacer.rate

    @property
    def held_seconds(self) -> float:
        """Seconds until a call may go out; endless while the API is away."""
        with self._changed:
            return self._pacer.wait(self._clock()) if self._available else math.inf

    def wait_turn(self, stopping: threading.Event) -> bool:
        """Wait until a call may be made: while the API is away, asked for time, or is recovering.

        Returns False, soon, once ``stopping`` is set or ``stop`` was called.
        """
        # One waits for the time to come, the others for that one, so that a turn wakes one thread.
        while not self._turnstile.acquire(timeout=_LOOK_SECONDS):
            if self._ends(stopping):
                return False
        try:
            with self._changed:
                while not self._ends(stopping):
                    now = self._clock()
                    left = self._pacer.wait(now) if self._available else _LOOK_SECONDS
                    if left <= 0:
                        self._pacer.take(now)
                        return True
                    self._changed.wait(min(left, _LOOK_SECONDS))
            return False
        finally:
            self._turnstile.release()

    def _ends(self, stopping: threading.Event) -> bool:
        return stopping.is_set() or self._stopping.is_set()

    def report_success(self) -> None:
        """A call was answered; the rate may grow."""
        with self._changed:
            self._pacer.succeeded(self._clock())

    def report_throttled(self, retry_after: float | None) -> None:
        """The API answered 429: fewer calls, or none for ``retry_after`` s, if too many are."""
        with self._changed:
            self._pacer.refused(self._clock(), retry_after or 0.0)

    def report_unreachable(self) -> bool:
        """A call got no answer: find out by a probe, begun after this, whose fault that is.

        True: the API is there, so the failure counts. False: it is away, and workers are held.
        """
        with self._changed:
            known = self._begun
            while self._probing and self._available and self._answered <= known:
                self._changed.wait(_LOOK_SECONDS)
            if not self._available:
                return False
            if self._answered > known:
                self._pacer.overloaded(self._clock())
                return True
            number = self._begin()
        there = self._probe()
        with self._changed:
            self._end(number, there)
            if there:
                self._pacer.overloaded(self._clock())
            elif self._available and not self._stopping.is_set():
                self._go_away()
        return there

    def _begin(self) -> int:
        self._probing = True
        self._begun += 1
        return self._begun

    def _end(self, number: int, there: bool) -> None:
        self._probing = False
        if there:
            self._answered = number
        self._changed.notify_all()

    def _probe(self) -> bool:
        try:
            return self._ask()
        except Exception:  # noqa: BLE001 - a probe that breaks must not end the probing
            structlog.get_logger().exception("kubernetes_probe_failed")
            return False

    def _go_away(self) -> None:
        self._available, self._away_since = False, time.time()
        structlog.get_logger().warning("kubernetes_api_away")
        self._changed.notify_all()
        self._prober.start()

    def _watch(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            self._probe_until_it_is_back(stopping)
            with self._changed:
                self._changed.wait_for(lambda: not self._available or stopping.is_set())

    def _probe_until_it_is_back(self, stopping: threading.Event) -> None:
        """Then let the workers go, slowly at first."""
        failures, began = 0, self._clock()
        while not stopping.wait(self._until(began + self._gaps.pause(failures))):
            with self._changed:
                number, began = self._begin(), self._clock()
            there = self._probe()
            with self._changed:
                self._end(number, there)
                if there:
                    self._come_back()
                    return
            failures += 1

    def _until(self, moment: float) -> float:
        return max(0.0, moment - self._clock())

    def _come_back(self) -> None:
        self._pacer.restart(self._clock())
        self._available, self._away_since = True, None
        self._changed.notify_all()
        structlog.get_logger().warning("kubernetes_api_back")

    def stop(self) -> list[str]:
        """End the probing and every wait; harmless twice. Returns the names of threads alive."""
        return self._prober.stop(_STOP_SECONDS)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
