"""What a journal of one process answers where others could have a share in it: nothing."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from lambda_builder.builds import BuildResult
from lambda_builder.journal.interface import JobOf, Others
from lambda_builder.journal.values import REJECTIONS_KEPT, OpenBuild
from lambda_builder.selection import BuildFilter, Place


class Alone:
    """The part of ``Journal`` that is about other replicas, where there are none; thread-safe.

    Refused events are kept in memory.
    """

    shared = False
    """No other replica uses it."""

    def __init__(self) -> None:
        self._rejections: deque[bytes] = deque(maxlen=REJECTIONS_KEPT)
        self._rejections_lock = threading.Lock()

    def relieve(self, limit: int) -> list[OpenBuild]:
        """Find nobody to relieve."""
        return []

    def moved(self) -> list[str]:
        """Find nothing: no build goes on elsewhere."""
        return []

    def overtaken(self) -> list[BuildResult]:
        """Find nothing: every outcome is stored."""
        return []

    def unwanted(self, jobs: Sequence[JobOf]) -> list[JobOf]:
        """Find nothing: nobody else makes Jobs of these builds."""
        return []

    def wait_for_change(self, timeout: float) -> None:
        """Return at once: nobody else changes anything."""

    def elsewhere(
        self, wanted: BuildFilter, *, before: Place | None, limit: int
    ) -> list[BuildResult]:
        """Find nothing."""
        return []

    def others(self) -> Others:
        """Return that there are none."""
        return Others()

    def keep_rejection(self, entry: bytes) -> None:
        """Keep a refused event in memory."""
        with self._rejections_lock:
            self._rejections.append(entry)

    def rejections(self) -> list[bytes]:
        """Return the refused events that are kept, newest first."""
        with self._rejections_lock:
            return [*reversed(self._rejections)]
