"""Hold: keeps workers from taking builds for a moment."""

from __future__ import annotations

import threading
import time


class Hold:
    """Says when a worker may take a build; thread-safe."""

    def __init__(self) -> None:
        self._until = 0.0

    def for_seconds(self, seconds: float) -> None:
        """Let no worker take a build for so long."""
        self._until = time.monotonic() + seconds

    def may_take(self, stopping: threading.Event) -> bool:
        """Wait until the hold is over; False, at once, when ``stopping`` is set."""
        while (left := self._until - time.monotonic()) > 0:
            if stopping.wait(left):
                return False
        return not stopping.is_set()
