"""Explanations: which ends' news waits until it is known what the Job does not say itself.

Why it failed, or what it pushed; and for how long at most.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lambda_builder.kube.record import JobRecord
from lambda_builder.lifecycle.diagnosis import JobDiagnosis

_LONGEST_SECONDS = 15.0
"""A node that died answers nothing about the builds that ended with it."""
_MOST = 64
"""Ended Jobs that are asked about at a time; the others wait for their turn."""


class Explanations:
    """Used by one thread; ``diagnosis`` finds out in its own, so that nobody waits for the pods."""

    def __init__(
        self, diagnosis: JobDiagnosis, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._diagnosis = diagnosis
        self._clock = clock
        self._since: dict[str, float] = {}
        """Ended Jobs, by uid, and since when their explanation is waited for."""

    def awaits(self, record: JobRecord) -> bool:
        """Return whether more may soon be known of an ended Job, and see to it that it is."""
        if self._diagnosis.is_explained(record):
            return False
        since = self._since.get(record.uid)
        if since is not None:
            in_time = self._clock() - since < _LONGEST_SECONDS
            return in_time and self._diagnosis.is_explaining(record)
        if len(self._since) < _MOST:
            self._since[record.uid] = self._clock()
            self._diagnosis.explain_soon(record)
        return True

    def forget(self, uid: str) -> None:
        """Wait for that one no longer."""
        self._since.pop(uid, None)

    def forget_all(self) -> None:
        """Wait for none."""
        self._since.clear()
