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
    """Used under its owner's lock; ``diagnosis`` finds out in a thread, so that nobody waits."""

    def __init__(
        self, diagnosis: JobDiagnosis, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._diagnosis = diagnosis
        self._clock = clock
        self._since: dict[str, float] = {}
        """Ended Jobs, by uid, and since when their explanation is waited for."""
        self._unchanged: set[str] = set()
        """Those of which nothing was seen since it was found that they wait."""

    def awaits(self, record: JobRecord) -> bool:
        """Return whether more may soon be known of an ended Job, and see to it that it is."""
        if self._diagnosis.is_explained(record):
            return False
        if record.uid in self._since:
            self._unchanged.add(record.uid)
            return self._goes_on(record.uid)
        if len(self._since) < _MOST:
            self._since[record.uid] = self._clock()
            self._diagnosis.explain_soon(record)
        return True

    def still_awaits(self, uid: str) -> bool:
        """Return whether ``awaits`` would say so once more; quicker, and no where it may not."""
        return uid in self._unchanged and self._goes_on(uid)

    def changed(self, uid: str) -> None:
        """More may be known of that Job by now."""
        self._unchanged.discard(uid)

    def _goes_on(self, uid: str) -> bool:
        in_time = self._clock() - self._since[uid] < _LONGEST_SECONDS
        return in_time and self._diagnosis.is_explaining(uid)

    def forget(self, uid: str) -> None:
        """Wait for that one no longer."""
        self._since.pop(uid, None)
        self._unchanged.discard(uid)

    def forget_all(self) -> None:
        """Wait for none."""
        self._since.clear()
        self._unchanged.clear()
