"""Many due times on one heap and one timer of the loop."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

_BATCH = 100  # requests get their turn between two batches


class Timers:
    """Calls at due times (seconds of the monotonic clock), in order; can be paused.

    For one thread only: that of the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wakeup: asyncio.TimerHandle | None = None
        self._wakeup_at = 0.0
        self._paused = False

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call in ``seconds``; it cannot be taken back."""
        due = time.monotonic() + seconds
        heapq.heappush(self._heap, (due, next(self._order), call))
        self._arm()

    def pause(self) -> None:
        """Hold everything back; time goes on meanwhile."""
        self._paused = True

    def resume(self) -> None:
        """Make up for what became due since ``pause()``."""
        self._paused = False
        self._arm()

    def cancel(self) -> None:
        """Forget all calls."""
        self._heap.clear()
        if self._wakeup is not None:
            self._wakeup.cancel()

    def _arm(self) -> None:
        if self._paused or not self._heap:
            return
        due = self._heap[0][0]
        if self._wakeup is not None:
            if self._wakeup_at <= due:
                return
            self._wakeup.cancel()
        self._wakeup_at = due
        delay = max(0.0, due - time.monotonic())
        self._wakeup = self._loop.call_later(delay, self._run_due)

    def _run_due(self) -> None:
        self._wakeup = None
        now = time.monotonic()
        try:
            for _ in range(_BATCH):
                if self._paused or not self._heap or self._heap[0][0] > now:
                    break
                heapq.heappop(self._heap)[2]()
        finally:
            self._arm()
