"""Capacity: holds the workers while a quota of the build namespace lets no Job in.

A full quota is no failure: builds wait at their places in the queue, and one at a time tries again.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import structlog

from lambda_builder.threads import Backoff

_FIRST_GAP_SECONDS = 0.5
_LONGEST_GAP_SECONDS = 30.0
_ADMITTED_IN_A_ROW = 5
"""So many builds, one after the other, have to get through before all go on at once. Before, the
builds behind would only be refused too, or overtake."""
_LOOK_SECONDS = 0.25
"""How often a waiting worker looks at the event that ends it, and at what makes no noise."""


class Capacity:
    """Says when a worker may try; thread-safe.

    A thread that ``may_take`` let through while blocked holds the one probe until it says
    ``refused`` or ``admitted``, asks again or ends.
    """

    def __init__(
        self,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gaps = Backoff(_FIRST_GAP_SECONDS, _LONGEST_GAP_SECONDS, rng=rng)
        self._clock = clock
        self._changed = threading.Condition()
        self._quota: str | None = None
        """The one that refused last; None where nothing is blocked."""
        self._since: float | None = None
        self._refusals = self._admitted = 0
        self._next_at = 0.0
        self._probe: threading.Thread | None = None

    @property
    def blocked(self) -> bool:
        """Whether a quota refused a Job and not enough got through since."""
        return self._quota is not None

    @property
    def full_quota(self) -> tuple[str, float] | None:
        """The quota that refuses Jobs, and since when, in seconds since the epoch."""
        with self._changed:
            if self._quota is None or self._since is None:
                return None
            return self._quota, self._since

    def may_take(self, stopping: threading.Event) -> bool:
        """Wait while blocked, unless it is this thread's turn to probe; False, soon, once
        ``stopping`` is set."""
        thread = threading.current_thread()
        with self._changed:
            if self._probe is thread:
                self._probe = None  # found nothing to do, or failed in another way
            while not stopping.is_set():
                if self._quota is None:
                    return True
                left = self._next_at - self._clock()
                if left <= 0 and (self._probe is None or not self._probe.is_alive()):
                    self._probe = thread
                    return True
                self._changed.wait(_LOOK_SECONDS if left <= 0 else min(left, _LOOK_SECONDS))
        return False

    def refused(self, quota: str) -> None:
        """The quota let the calling thread's Job not in."""
        with self._changed:
            mine = self._probe is threading.current_thread()
            if self._quota == quota and not mine:
                return  # begun before the first refusal, which says it all
            if self._quota != quota:
                structlog.get_logger().warning("capacity_blocked", quota=quota)
                self._since = time.time()
            self._quota, self._admitted = quota, 0
            self._next_at = self._clock() + self._gaps.pause(self._refusals)
            self._refusals += 1
            self._release()

    def admitted(self) -> None:
        """The calling thread's Job was let in: the next build may try at once."""
        with self._changed:
            if self._quota is None:
                return
            self._refusals, self._next_at = 0, self._clock()
            self._admitted += 1
            if self._admitted >= _ADMITTED_IN_A_ROW:
                self._quota = None
                structlog.get_logger().warning("capacity_free")
            self._release()

    def room_made(self) -> None:
        """A Job ended or went: there may be room."""
        with self._changed:
            if self._quota is not None:
                self._refusals, self._next_at = 0, self._clock()
                self._changed.notify_all()

    def _release(self) -> None:
        if self._probe is threading.current_thread():
            self._probe = None
        self._changed.notify_all()
