"""News of an outbox: how its consumers wait for more."""

from __future__ import annotations

import threading


class News:
    """Counts arrivals, so that consumers can wait for the next one; thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def nudge(self) -> None:
        """Make every ``wait_for_news`` return."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait_for_news(self, seen: int, timeout: float) -> int:
        """Wait until there is more than ``seen``; returns the value for the next call."""
        with self._changed:
            self._changed.wait_for(lambda: self._count != seen, timeout)
            return self._count
